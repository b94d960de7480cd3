"""The quickstart through Slurm; many runs at once; how often Slurm's commands are called."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from kdbench.store.records import index, load_result
from tests.support.slurm import ALONE, REPOSITORY, TAUGHT, Project, curves, slurm

QUICKSTART = REPOSITORY / "suites" / "quickstart.toml"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets a line, with the time, for each call of sbatch and squeue; both still work."""
    log, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    log.touch()
    for name in ("sbatch", "squeue"):
        script = folder / name
        script.write_text(f'#!/bin/sh\necho "{name} $(date +%s.%N)" >>{log}\nexec /usr/bin/{name} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return log


def times(log: Path, name: str) -> list[float]:
    """When a command was called."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [float(at) for what, at in lines if what == name]


def test_quickstart_gives_the_same_results_as_local(
    project: Project, data: Path, tmp_path: Path, calls: Path
) -> None:
    profile = (REPOSITORY / "slurm" / "dev.toml").read_text()
    Path("slurm/dev.toml").write_text(profile)
    local = project.local(tmp_path / "local", QUICKSTART, data, "--seeds", "0")
    code, said = project.kd("run", str(QUICKSTART), "--on", "slurm:dev", "--wait")
    assert code == 0, said
    assert local.communicate()[0]
    assert local.returncode < 2  # one seed alone may lie outside the tolerance
    assert "top1" in said
    there = curves(tmp_path)
    here = curves(tmp_path / "local")
    assert (len(there), len(here)) == (24, 8)
    assert {run: there[run] for run in here} == here
    assert {attempt.gpu for run in there for attempt in project.attempts(run)} == {"0", "1"}
    assert len(times(calls, "sbatch")) == 2
    asked = times(calls, "squeue")
    assert all(later - earlier > 9 for earlier, later in pairwise(asked[1:]))
    before = len(asked)
    assert project.kd("status", str(QUICKSTART))[0] == 0
    assert len(times(calls, "squeue")) == before


def test_thousand_runs_take_one_call_of_sbatch_for_each_generation(project: Project, calls: Path) -> None:
    project.suite(TAUGHT.replace("loss", "seeds = 250\nloss"))
    project.profile(work="runs_per_job = 1", more="[extra]\nhold = true")
    said = project.submit()
    assert said.count("500 runs in 500 jobs") == 2
    assert len(times(calls, "sbatch")) == 2
    assert project.states() == {"queued": 1000}
    assert len(times(calls, "squeue")) == 1
    assert "1,000 runs queued" in project.submit()
    assert "cancelled 1,000 jobs" in project.kd("cancel", "suites/tiny")[1]


def test_array_larger_than_the_cluster_takes(project: Project) -> None:
    project.suite(ALONE, seeds=1100)
    project.profile(work="runs_per_job = 1\nmax_array = 5000", more="[extra]\nhold = true")
    code, said = project.kd("run", "suites/tiny", "--on", "slurm:dev")
    assert code == 2
    assert "max_array" in said
    assert project.jobs() == []
    project.profile(work="runs_per_job = 1", more="[extra]\nhold = true")
    assert "1,100 runs in 550 jobs" in project.submit()


def test_students_of_single_teachers_wait_job_by_job(project: Project) -> None:
    mlp = '{ student = "digits_mlp" }'
    project.suite(TAUGHT.replace(mlp, mlp.replace(" }", ", recipe = { epochs = 1500 } }")))
    project.profile(work="runs_per_job = 1", minutes=5)
    project.submit()
    (students, teachers) = project.ledger.submissions()
    shown = slurm("scontrol", "show", "job", students.job)
    assert f"Dependency=aftercorr:{teachers.job}" in shown
    project.wait_for_results(4)
    names = {name: run for run, name in project.runs().items()}
    (quick,) = project.attempts(names["digits_mlp-kd-digits_cnn.s0"])
    slow = index(Path("results")).results[names["digits_mlp-ce.s0"]]
    assert quick.started < slow.stat().st_mtime
    assert all(len(project.attempts(run)) == 1 for run in names.values())


def test_memory_is_asked_for_as_measured(project: Project) -> None:
    project.suite(ALONE)
    project.profile(memory=4)
    project.submit()
    assert "MinMemoryNode=4G" in slurm("scontrol", "show", "job", project.jobs()[0])
    project.wait_for_results(1)
    project.suite(ALONE, seeds=2)
    project.profile(memory=4, more="[extra]\nhold = true")
    project.submit()
    (asked,) = re.findall(r"MinMemoryNode=(\d)G", slurm("scontrol", "show", "job", project.jobs()[0]))
    (path,) = index(Path("results")).results.values()
    assert load_result(path).peak_memory / 2**30 < int(asked) < 4


def test_doctor_looks_at_a_node(project: Project) -> None:
    code, said = project.kd("doctor", "--on", "slurm:dev")
    assert code == 0, said
    assert "kdbench there" in said
    project.profile(partition="nowhere")
    code, said = project.kd("doctor", "--on", "slurm:dev")
    assert code == 1
    assert "no partition nowhere" in said
