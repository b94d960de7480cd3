"""The cluster of these tests, and a throw-away project on it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.slurm import Project, script

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """The folder of a running cluster; stopped in the end by whom it was started."""
    lacking = [name for name in ("sbatch", "slurmdbd", "munged", "mariadbd") if not _there(name)]
    if lacking and (os.getuid() != 0 or shutil.which("apt-get") is None):
        pytest.skip(f"no {', '.join(lacking)}, and only root with apt-get can install them")
    running = script("status").returncode == 0
    started = script("up")
    assert started.returncode == 0, started.stderr
    conf = script("env").stdout.strip().partition("SLURM_CONF=")[2]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = conf
    yield Path(conf).parents[1]
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before
    if not running:
        script("stop")


def _there(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the digits are packed once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def project(cluster: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project of one small suite; its jobs do not outlive its test."""
    monkeypatch.setenv("KDBENCH_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path, cluster, monkeypatch)
    yield made
    made.cancel_all()
