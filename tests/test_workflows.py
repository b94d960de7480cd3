"""The workflows: of the right form, and the nightly's steps do what they say, run here on a tiny suite."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copy
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


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A checkout with a tiny suite and `kdbench` on its path."""
    write_suite(tmp_path, BARE)
    copy(ROOT / "benchmark.toml", tmp_path)
    command = tmp_path / "bin" / "kdbench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdbench "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return Night(tmp_path)


def test_workflows_have_the_form_that_github_publishes() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *WORKFLOWS], capture_output=True, text=True, check=False)
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


def docs_step(night: Night, name: str, newest: str) -> Step:
    """A step of the workflow that publishes the docs, where GitHub knows this newest night."""
    gh = night.folder / "bin" / "gh"
    gh.write_text(GH.replace("NIGHT", newest), encoding="utf-8")
    gh.chmod(0o755)
    return night.step(next(step["run"] for step in steps_of("docs") if step.get("name") == name))


def test_site_has_the_results_of_the_newest_night(night: Night) -> None:
    store(night.folder, write_suite(night.folder, name="printed"), AS_PRINTED)
    (night.folder / "results").rename(night.folder / "artifact")
    (night.folder / "results").mkdir()
    done = docs_step(night, "Results of the newest night", "7")
    assert done.code == 0, done.out
    assert len(list((night.folder / "results").rglob("*.json"))) == 6


def test_docs_are_published_before_the_first_night_too(night: Night) -> None:
    done = docs_step(night, "Results of the newest night", "")
    assert (done.code, done.out) == (0, "no night has ended yet: the site has the results in git\n")


@pytest.mark.slow
def test_site_of_the_results_is_made_beside_the_docs(night: Night) -> None:
    done = docs_step(night, "Site of the results", "")
    assert done.code == 0, done.out
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
