"""What all tests share: hypothesis without a deadline, the command line on a throw-away project, a server.

Hypothesis tries 20 examples, others each time, and in CI 100, which are the same each time.
"""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
from hypothesis import settings

from kdbench.cli import main
from tests.support.command import Command, Outcome
from tests.support.dispatch import InProcess, call_in_this_process
from tests.support.project import AS_PRINTED, make_project, store
from tests.support.server import Server

settings.register_profile("quick", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "quick")

gc.disable()  # until all is imported: looking again and again through what stays costs seconds


def pytest_collection_finish() -> None:
    """Imported modules and collected tests are garbage never: no collection looks through them again.

    Most objects of a test end with it, without the collector: it looks seldom, for cycles alone.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session", autouse=True)
def _never_synced() -> Iterator[None]:
    """No test cuts the power: waiting for the disk took a fifth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A file server; no proxy and no mirror of this machine's comes between."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("KDBENCH_MIRRORS", raising=False)
    with Server() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a small suite and a benchmark.toml; data are nowhere."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDBENCH_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def kdbench(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in the project, in this process."""
    assert project == Path.cwd()

    def run(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["kdbench", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`kdbench run` trains in this process: a worker would import torch once more."""
    import torch

    monkeypatch.setattr("kdbench.run.local.LocalExecutor", InProcess)
    monkeypatch.setattr("kdbench.run.preflight.call_in_subprocess", call_in_this_process)
    before = torch.get_deterministic_debug_mode()
    yield
    torch.set_deterministic_debug_mode(before)


@pytest.fixture(scope="session")
def results_as_printed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results that are exactly as the small suite prints them."""
    folder = tmp_path_factory.mktemp("as_printed")
    store(folder, make_project(folder), AS_PRINTED)
    return folder / "results"


@pytest.fixture
def stored(project: Path, results_as_printed: Path) -> Path:
    """The project with results that are exactly as printed."""
    copytree(results_as_printed, project / "results")
    return project


@pytest.fixture
def real_cifar100() -> Path:
    """A folder with the real CIFAR-100, packed."""
    folder = Path(os.environ.get("KDBENCH_DATA", ""))
    if not (folder / "cifar100.v1.safetensors").is_file():
        pytest.skip("real CIFAR-100 is not packed: set KDBENCH_DATA to a folder with cifar100.v1.safetensors")
    return folder
