"""`--on slurm` where there is no cluster: one clear error, exit code 2, nothing left behind."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from kdbench.cli import cli
from kdbench.errors import UserError

SUITE = str(Path(__file__).parents[1] / "suites" / "quickstart")


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
    assert "--on local" in refused("run", SUITE, "--on", "slurm:some", "--again")
    assert not (project / ".kdbench").exists()


@pytest.mark.usefixtures("project")
def test_status_without_jobs_asks_nobody() -> None:
    answer = CliRunner().invoke(cli, ["status", SUITE], standalone_mode=False)
    assert "24 waiting" in answer.output


@pytest.mark.usefixtures("project")
def test_cancel_without_jobs() -> None:
    answer = CliRunner().invoke(cli, ["cancel", SUITE], standalone_mode=False)
    assert "nothing is queued or running" in answer.output


@pytest.mark.usefixtures("project")
def test_doctor_names_what_lacks() -> None:
    answer = CliRunner().invoke(cli, ["doctor", "--on", "slurm:some"], standalone_mode=False)
    assert answer.return_value == 1
    assert "dev-cluster.sh up" in answer.output
