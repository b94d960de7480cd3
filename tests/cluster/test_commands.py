"""`--on slurm` where there is no cluster: one clear error, exit code 2, nothing left behind."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cluster.ledger import Attempt, Ledger
from kdbench.cluster.queue import try_snapshot
from kdbench.cluster.scheduler import COMMANDS
from kdbench.store.records import index
from tests.support.command import Command
from tests.support.large import large_project
from tests.support.places import SUITES

SUITE = str(SUITES / "quickstart")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one profile, on a machine without Slurm."""
    (tmp_path / "benchmark.toml").write_text("")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "some.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KDBENCH_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.parametrize(
    ("on", "words"),
    [
        ("slurm:some", "no sbatch, srun, squeue, scancel, scontrol, sinfo on PATH"),
        ("slurm:sone", "Did you mean 'some'?"),
        ("slurm", "which cluster?"),
        ("slurm:", "write local, slurm or slurm:PROFILE"),
        ("lsf", "write local, slurm or slurm:PROFILE"),
    ],
)
def test_no_cluster(kdbench: Command, project: Path, on: str, words: str) -> None:
    done = kdbench("run", SUITE, "--on", on)
    assert (done.code, words in done.err) == (2, True)
    assert sorted(path.name for path in project.iterdir()) == ["benchmark.toml", "slurm"]


def test_option_that_sbatch_does_not_have(kdbench: Command, project: Path) -> None:
    (project / "slurm" / "some.toml").write_text('[sbatch]\nnodelst = "n1"')
    assert "Did you mean 'nodelist'?" in kdbench("run", SUITE, "--on", "slurm:some").err


def test_options_of_local_runs(kdbench: Command, project: Path) -> None:
    done = kdbench("run", SUITE, "--on", "slurm:some", "--rerun")
    assert (done.code, "--on local" in done.err) == (2, True)
    assert not (project / ".kdbench").exists()


def test_status_without_jobs_asks_nobody(kdbench: Command) -> None:
    assert "24 waiting" in kdbench("status", SUITE).out


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of 10,080 finished runs that were jobs once; Slurm's commands note that they were called."""
    path = large_project(tmp_path / "large", 3358)
    home = path.parents[1]
    (home / "slurm").mkdir()
    (home / "slurm" / "some.toml").write_text("")
    (home / "bin").mkdir()
    for name in COMMANDS:
        command = home / "bin" / name
        command.write_text(f"#!/bin/sh\necho {name} >> {home}/calls\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=":")
    monkeypatch.setenv("KDBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(home)
    runs = sorted(index(home / "results").results)
    ledger = Ledger(home / ".kdbench")
    for first in range(0, len(runs), 1000):
        array = ledger.new_submission("large", "some", [[run] for run in runs[first : first + 1000]])
        ledger.save(replace(array, job=str(first)))
    return home


@pytest.mark.slow
def test_finished_runs_cost_no_question_to_the_scheduler(kdbench: Command, finished: Path) -> None:
    suite = str(finished / "suites" / "small")
    assert kdbench("status", suite).out == "10080 done\n"
    assert not (finished / "calls").exists()
    result = next((finished / "results" / "digits").glob("digits_cnn-ce.s0.*.json"))
    run = result.name.split(".")[2]
    ledger = Ledger(finished / ".kdbench")
    ((job,),) = try_snapshot(ledger, [run]).never_began(ledger.histories([run])).values()
    ledger.begin(run, Attempt(job=job.id, node="n1", gpu="", started=0.0, start=0), max_timeouts=2)
    (finished / "calls").unlink()
    result.unlink()
    assert "1 waiting" in kdbench("status", suite).out
    assert (finished / "calls").read_text() == "squeue\n"


@pytest.mark.slow
def test_run_of_what_is_finished_submits_nothing_and_forgets_the_jobs(
    kdbench: Command, finished: Path
) -> None:
    suite = str(finished / "suites" / "small")
    assert kdbench("run", suite, "--on", "slurm:some").code == 0
    assert not (finished / "calls").exists()
    assert Ledger(finished / ".kdbench").submissions() == []


def test_cancel_without_jobs(kdbench: Command) -> None:
    assert kdbench("cancel", SUITE).out == "nothing is queued or running\n"


def test_doctor_names_what_lacks(kdbench: Command) -> None:
    done = kdbench("doctor", "--on", "slurm:some")
    assert (done.code, "dev-cluster.sh up" in done.out) == (1, True)
