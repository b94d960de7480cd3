"""`--on slurm` where there is no cluster: one clear error, exit code 2, nothing left behind."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from kdbench.cli import cli
from kdbench.cluster.ledger import Attempt, Ledger
from kdbench.cluster.queue import try_snapshot
from kdbench.cluster.scheduler import COMMANDS
from kdbench.errors import UserError
from kdbench.store.records import index
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


def refused(*words: str) -> str:
    """What a command says that must be refused."""
    answer = CliRunner().invoke(cli, list(words), standalone_mode=False)
    assert isinstance(answer.exception, UserError)
    return str(answer.exception)


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
def test_no_cluster(project: Path, on: str, words: str) -> None:
    assert words in refused("run", SUITE, "--on", on)
    assert sorted(path.name for path in project.iterdir()) == ["benchmark.toml", "slurm"]


def test_option_that_sbatch_does_not_have(project: Path) -> None:
    (project / "slurm" / "some.toml").write_text('[sbatch]\nnodelst = "n1"')
    assert "Did you mean 'nodelist'?" in refused("run", SUITE, "--on", "slurm:some")


def test_options_of_local_runs(project: Path) -> None:
    assert "--on local" in refused("run", SUITE, "--on", "slurm:some", "--rerun")
    assert not (project / ".kdbench").exists()


@pytest.mark.usefixtures("project")
def test_status_without_jobs_asks_nobody() -> None:
    answer = CliRunner().invoke(cli, ["status", SUITE], standalone_mode=False)
    assert "24 waiting" in answer.output


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
def test_finished_runs_cost_no_question_to_the_scheduler(finished: Path) -> None:
    suite = str(finished / "suites" / "small")
    answer = CliRunner().invoke(cli, ["status", suite], standalone_mode=False)
    assert answer.output.strip() == "10080 done"
    assert not (finished / "calls").exists()
    result = next((finished / "results" / "digits").glob("digits_cnn-ce.s0.*.json"))
    run = result.name.split(".")[2]
    ledger = Ledger(finished / ".kdbench")
    ((job,),) = try_snapshot(ledger, [run]).never_began(ledger.histories([run])).values()
    ledger.begin(run, Attempt(job=job.id, node="n1", gpu="", started=0.0, start=0), times=2)
    (finished / "calls").unlink()
    result.unlink()
    answer = CliRunner().invoke(cli, ["status", suite], standalone_mode=False)
    assert "1 waiting" in answer.output
    assert (finished / "calls").read_text() == "squeue\n"


@pytest.mark.slow
def test_run_of_what_is_finished_submits_nothing_and_forgets_the_jobs(finished: Path) -> None:
    suite = str(finished / "suites" / "small")
    answer = CliRunner().invoke(cli, ["run", suite, "--on", "slurm:some"], standalone_mode=False)
    assert answer.exception is None
    assert not (finished / "calls").exists()
    assert Ledger(finished / ".kdbench").submissions() == []


@pytest.mark.usefixtures("project")
def test_cancel_without_jobs() -> None:
    answer = CliRunner().invoke(cli, ["cancel", SUITE], standalone_mode=False)
    assert "nothing is queued or running" in answer.output


@pytest.mark.usefixtures("project")
def test_doctor_names_what_lacks() -> None:
    answer = CliRunner().invoke(cli, ["doctor", "--on", "slurm:some"], standalone_mode=False)
    assert answer.return_value == 1
    assert "dev-cluster.sh up" in answer.output
