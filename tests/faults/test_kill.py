"""Twenty real kills at random moments: nothing is lost, and nobody can tell afterwards."""

import json
import subprocess
import sys

import pytest

from tests.support.faults.kill import PHASES, Life, Word
from tests.support.places import ROOT

KILL = ROOT / "tests" / "support" / "faults" / "kill.py"


@pytest.mark.slow
def test_twenty_kills_lose_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(KILL), "--times", "20", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    wanted = {"kills": 20, "resumed": 20, "identical": 20, "lost_epochs": 0}
    assert {key: report[key] for key in wanted} == wanted
    assert len(report["moments"].keys() & PHASES.keys()) >= 4
    assert set(report["kills_by_story"]) == {"alone", "taught", "memory", "cohort"}


def test_moment_of_a_death_is_the_innermost_phase() -> None:
    words = [Word("enter", "training", 0, 0.0), Word("leave", "training", 0, 0.0)]
    inside = [*words, Word("enter", "checkpoint", 0, 0.0), Word("kept", "a", 1, 0.0)]
    assert [Life(lines, killed=True).moment for lines in (words, inside)] == ["between", "checkpoint"]
