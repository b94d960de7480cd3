"""The workflows: of the right form, and the nightly's steps do what they say, run here on a tiny suite."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copy, rmtree
from typing import Any

import pytest
import yaml
from msgspec import Struct
from msgspec.structs import replace

from kdbench.store.records import load_result, save_result
from tests.support.build import make_result
from tests.support.places import ROOT
from tests.support.project import AS_PRINTED, SUITE, change, store, write_suite

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BARE = change(
    ("top1 = 90.0", "note = 'a'"),
    ("top1 = 95.0", "note = 'b'"),
    ("top1 = 92.0, gain = 2.0", "note = 'c'"),
    ("seeds = 2", "seeds = 1"),
    suite=SUITE,
)
"""The small suite without numbers to be held against."""


class Step(Struct):
    """What a step did."""

    code: int
    out: str


class Night(Struct):
    """A checkout in which the nightly's steps run."""

    folder: Path

    def run(self) -> dict[str, Step]:
        """Every step with commands but `Install`, whatever the others exit with."""
        steps = [step for step in steps_of("nightly") if "run" in step and step["name"] != "Install"]
        return {step["name"]: self.step(step["run"]) for step in steps}

    def step(self, command: str) -> Step:
        """What GitHub does with a step's commands, in the nightly's environment."""
        workflow = read("nightly")
        own = {
            "SUITE": "suites/small",
            "FULL": "suites/small",
            "DAYS": "2",
            "SEEDS": "0-1",
            "MARGIN": "0.1",
            "NIGHTS": "1",
        }
        assert own.keys() == workflow["env"].keys()
        environment = os.environ | own | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "KDBENCH_DATA": str(self.folder / "data"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Step(done.returncode, done.stdout + done.stderr)


def read(name: str) -> Any:  # noqa: ANN401 - YAML
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))


def steps_of(name: str) -> list[dict[str, Any]]:
    [job] = read(name)["jobs"].values()
    return list(job["steps"])


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A checkout with a tiny suite and `kdbench` on its path."""
    folder = tmp_path_factory.mktemp("checkout")
    write_suite(folder, BARE)
    copy(ROOT / "benchmark.toml", folder)
    command = folder / "bin" / "kdbench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdbench "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return Night(folder)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_has_the_form_that_github_publishes(path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_ci_runs_what_a_person_runs() -> None:
    assert [step["run"] for step in steps_of("ci") if "run" in step] == ["bash .ci/run"]


def raise_all(results: Path, points: float) -> None:
    """Stored results as if training had given so many points more."""
    for path in (results / "digits").iterdir():
        stored = load_result(path)
        top1 = [min(100.0, value + points) for value in stored.curve.top1]
        path.unlink()
        save_result(results, replace(make_result(stored.run, *top1), environment=stored.environment))


GH = """\
#!/bin/sh
case "$2" in
  list) echo NIGHT ;;
  download) mkdir -p nightly/short && cp -r artifact nightly/short/results ;;
esac
"""
"""What answers in place of GitHub's own command."""


@pytest.mark.parametrize(("night_id", "runs"), [("7", 6), ("", 0)], ids=["a night", "no night yet"])
def test_site_has_the_results_of_the_newest_night(night: Night, night_id: str, runs: int) -> None:
    path = write_suite(night.folder, name="printed")
    for folder in ("results", "nightly", "artifact", ".kdbench"):
        rmtree(night.folder / folder, ignore_errors=True)
    (night.folder / "results").mkdir()
    store(night.folder, path, AS_PRINTED)
    (night.folder / "results").rename(night.folder / "artifact")
    (night.folder / "results").mkdir()
    gh = night.folder / "bin" / "gh"
    gh.write_text(GH.replace("NIGHT", night_id), encoding="utf-8")
    gh.chmod(0o755)
    named = {step["name"]: step["run"] for step in steps_of("docs") if "run" in step}
    for name in ("Results of the newest night", "Site of the results"):
        done = night.step(named[name])
        assert done.code == 0, done.out
    assert len(list((night.folder / "results").rglob("*.json"))) == runs
    assert (night.folder / ".kdbench" / "site" / "results" / "index.html").is_file()


@pytest.mark.slow
def test_night_passes_and_the_next_one_finds_a_regression(night: Night) -> None:
    first, short = night.run(), night.folder / "nightly" / "short"
    assert {name: step.code for name, step in first.items()} == dict.fromkeys(first, 0), first
    written = [short / name for name in ("report.html", "junit.xml", "badge.json")]
    assert all(path.stat().st_size > 100 for path in written)
    assert "Age of the evidence" in (night.folder / "summary.md").read_text(encoding="utf-8")
    assert (short / "issue.md").read_text(encoding="utf-8") == ""
    assert len(list((short / "nights").iterdir())) == 1
    assert "not trained yet" not in (short / "history.txt").read_text(encoding="utf-8")

    raise_all(short / "results", 5.0)
    second = night.run()
    codes = {name: step.code for name, step in second.items()}
    assert codes == dict.fromkeys(first, 0) | {"Compare with last night": 1}
    assert "All 3 rows together: -" in second["Compare with last night"].out
    assert len(list((short / "nights").iterdir())) == 1
    assert (short / "issue.md").read_text(encoding="utf-8").startswith("# 3 of 3 rows regressed\n")
