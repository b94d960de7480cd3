"""Workers keep the memory that a step gives back; forks of the server need not import torch."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdbench.machine import Local, Machine
from kdbench.workers.process import ALLOCATOR, Worker, forkable, server_is_ready, start_server
from tests.support.processes import forget_server
from tests.support.worker_targets import PRELOADED, describe

CPU = Machine(local=Local(device="cpu"))
FAULTS = """
import resource
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(tunables: str) -> int:
    """Pages that the kernel must make for 64 MiB, just given back and asked for again."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**os.environ, "GLIBC_TUNABLES": tunables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_memory_that_was_given_back_needs_no_new_pages() -> None:
    assert faults(ALLOCATOR) < 100
    assert faults("glibc.malloc.check=0") > 1000


linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no server")


@pytest.fixture(scope="module")
def _no_other_server() -> Iterator[None]:
    forget_server()
    yield
    forget_server()


@pytest.fixture
def server(_no_other_server: None) -> None:
    start_server([PRELOADED])


@pytest.fixture
def worker(server: None, forked: bool) -> Iterator[Worker]:  # noqa: ARG001, FBT001 - a fixture, a parameter
    started = Worker(CPU, describe, forked=forked)
    yield started
    started.stop()


@linux
@pytest.mark.parametrize("forked", [True])
def test_forked_worker_has_what_the_server_has_imported(worker: Worker) -> None:
    there, parent, _ = worker.pipe.recv()
    assert there
    assert parent != os.getpid()


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("_no_other_server")
def test_server_that_has_imported_torch_has_one_thread() -> None:
    """So there is no pool of threads that a fork would lack."""
    forget_server()
    start_server(["torch"])
    worker = Worker(CPU, describe, ("torch",), forked=True)
    there, _, threads = worker.pipe.recv()
    worker.stop()
    forget_server()
    assert (there, threads) == (True, 1)


INTERRUPT = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
os.kill(os.getpid(), signal.SIGINT)
"""


@linux
@pytest.mark.usefixtures("_no_other_server")
@pytest.mark.parametrize("forked", [True, False])
def test_interrupt_of_what_has_only_just_started_leaves_it_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forked: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Server and worker get Ctrl-C before they import kdbench, which has them ignore it."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    forget_server()
    if forked:
        start_server([PRELOADED])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    worker = Worker(CPU, describe, forked=forked)
    there, parent, _ = worker.pipe.recv()
    worker.stop()
    forget_server()
    assert (there, parent == os.getpid()) == (forked, not forked)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@linux
@pytest.mark.parametrize("forked", [True, False])
def test_end_of_a_killed_worker_is_known(worker: Worker) -> None:
    worker.pipe.recv()
    assert worker.process.pid is not None
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join(60)
    assert worker.process.exitcode == -signal.SIGKILL


@linux
@pytest.mark.parametrize("forked", [True])
def test_worker_ends_with_the_server_and_the_next_one_needs_none(worker: Worker) -> None:
    """It is a fork of another server, or no fork where the kernel has not cleared the first one away yet."""
    _, parent, _ = worker.pipe.recv()
    assert parent != os.getpid()  # which would end here
    os.kill(parent, signal.SIGKILL)
    worker.process.join(60)
    assert not worker.process.is_alive()
    following = Worker(CPU, describe, forked=True)
    _, other, _ = following.pipe.recv()
    following.stop()
    assert other != parent


@linux
@pytest.mark.usefixtures("server")
def test_worker_with_another_environment_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_is_ready()
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    worker = Worker(CPU, describe, forked=True)
    there, parent, _ = worker.pipe.recv()
    worker.stop()
    assert (there, parent) == (False, os.getpid())


@linux
@pytest.mark.parametrize(
    ("local", "may"),
    [
        (Local(), True),
        (Local(device="cpu"), True),
        (Local(device="cuda"), False),
        (Local(device="cuda:1"), False),
        (Local(threads=2), False),
        (Local(processes=2), False),
    ],
)
def test_fork_is_for_a_cpu_and_one_thread(local: Local, may: bool) -> None:  # noqa: FBT001 - a parameter
    assert forkable(Machine(local=local)) is may
