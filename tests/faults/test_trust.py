"""Who may decide what our jobs execute, and `kdbench retry` without a cluster."""

import os
import stat
from pathlib import Path

import pytest

from kdbench.cluster import sbatch
from kdbench.cluster.groups import JobArray
from kdbench.cluster.ledger import Ledger
from kdbench.cluster.node import JobWork
from kdbench.cluster.profiles import read_profile
from kdbench.machine import Machine
from kdbench.plan.expand import expand
from kdbench.spec.results import Failure
from kdbench.store.records import index, save_failure
from kdbench.suite.load import load_suite
from tests.support.command import Command
from tests.support.places import ROOT

PROFILE = ROOT / "slurm" / "plain.toml"


@pytest.fixture
def fake_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An sbatch that takes everything, as job 7."""
    for name in ("sbatch", "srun"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text("#!/bin/sh\necho Submitted batch job 7\n", encoding="utf-8")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return command


@pytest.mark.parametrize("before", [None, 0o777], ids=["new", "open to all"])
@pytest.mark.usefixtures("fake_sbatch")
def test_folder_of_submitits_pickles_is_its_owners_alone(tmp_path: Path, before: int | None) -> None:
    """Whoever may write there decides what the jobs execute."""
    submission = Ledger(tmp_path).new_submission("a", "plain", [["0" * 12]])
    folder = Path(submission.logs)
    if before is not None:
        folder.mkdir(parents=True)
        folder.chmod(before)
    work = JobWork(Machine(root=str(tmp_path)), (), {}, workers=1, minutes=10, signal=60)
    umask = os.umask(0)
    try:
        group = JobArray(generation=0, minutes=10, memory=1, chunks=())
        job = sbatch.submit(submission, [work], read_profile(PROFILE, sbatch.sbatch_options()), group, None)
    finally:
        os.umask(umask)
    assert job == "7"
    assert list(folder.rglob("*.pkl"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.slow
def test_retry_trains_failed_runs_again_on_this_machine(kdbench: Command, project: Path) -> None:
    """The whole of a small suite, of which one run had failed."""
    [cell] = expand(load_suite(project / "suites" / "small.toml"), rows="1.base/digits_mlp", seeds=[0])
    failure = Failure(id=cell.ids[0], run=cell.runs[0], cause="the worker process died", log="")
    save_failure(project / "results", failure)
    assert "the worker process died" in kdbench("status", "suites/small").out
    done = kdbench("retry", "suites/small", "--rows", "1.base/digits_mlp", "--seeds", "0")
    assert done.err.startswith(f"1 run to start anew: {cell.ids[0]}\n")
    there = index(project / "results")
    assert (set(there.results), there.failures) == ({cell.ids[0]}, {})
