"""A worker: a process of its own that trains one cohort at a time.

On Linux, workers that train on the CPU by one thread each are forks of a server, which imports torch once for
all of them: multiprocessing's own. That is safe because it does nothing but import: no operation of torch has
run there, so no pool of threads and no GPU has been started. All others import torch themselves.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from kdbench.machine import Machine

if TYPE_CHECKING:
    from kdbench.spec.events import Task

ALLOCATOR = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"mmap_max": 0, "trim_threshold": 2**40, "top_pad": 2**26, "hugetlb": 1}.items()
)
"""What a worker's C library does with memory: to keep what was given back, in huge pages where it may.

It is read when a process starts. A step asks for the same memory again and again; by default large tensors
are new pages every time, which the kernel must zero. Other C libraries do not read it.
"""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal, or who stops kdbench, sends to all of its processes: the driver alone answers."""
PRELOAD = "kdbench.workers.preload"
SERVER_DIED = 255
"""The exit code that multiprocessing gives a fork whose server has died, and so could not report it."""
_server_environment: dict[str, str] = {}
"""What the server was started with; empty where there is none."""


class Worker:
    """A process that trains one cohort at a time.

    Args:
        machine: this one.
        target: what it does, called with its end of the pipe, the machine and more.
        more: what else it gets.
        forked: let it be a fork of the server, should there be one.
    """

    def __init__(
        self,
        machine: Machine,
        target: Callable[..., object],
        more: tuple[object, ...] = (),
        *,
        forked: bool = False,
    ) -> None:
        set_start_environment()
        self.pipe, theirs = multiprocessing.Pipe()

        def start(context: ForkServerContext | SpawnContext) -> BaseProcess:
            process = context.Process(target=target, args=(theirs, machine, *more))
            process.daemon = machine.local.processes == 1  # a daemon could not start ranks
            process.start()
            return process

        with masked():
            if forked and server_is_ready():
                try:
                    self.process = start(multiprocessing.get_context("forkserver"))
                except (
                    OSError,
                    EOFError,
                ):  # it has ended: torch could not be imported, or somebody killed it
                    self.process = start(multiprocessing.get_context("spawn"))
            else:
                self.process = start(multiprocessing.get_context("spawn"))
        theirs.close()
        self.tasks: dict[str, Task] = {}
        """Its runs that have not ended, by id."""

    def stop(self) -> None:
        """End the process, now: whatever it is writing, it is whole or not there."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def forkable(machine: Machine) -> bool:
    """Whether workers of this machine may be forks, if it has no GPU that they would use."""
    local = machine.local
    on_cpu = local.device in ("auto", "cpu")
    return sys.platform == "linux" and on_cpu and local.threads == 1 and local.processes == 1


def start_server(modules: Sequence[str]) -> None:
    """Start the server, which imports these modules while this process goes on; one that runs is kept.

    Where none can be started (no place for its socket), workers are processes of their own.
    """
    set_start_environment()
    multiprocessing.set_forkserver_preload([PRELOAD, *modules])
    try:
        with masked():
            forkserver.ensure_running()
    except OSError:
        return
    if not _server_environment:
        _server_environment.update(_environment())


def server_is_ready() -> bool:
    """Whether a server was started, with the environment that a worker started now would have."""
    return bool(_server_environment) and _server_environment == _environment()


def _environment() -> dict[str, str]:
    """What a process started now would read; pytest's name of the test under way is read by none."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def describe_exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        killed = " - the kernel ends processes so when memory runs out" if code == -signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{killed}"
    return f"exit code {code}"


def prepare_worker(machine: Machine, gpu: str | None) -> None:
    """What a worker process does before it imports torch, or uses what the server has imported."""
    ignore_signals()
    die_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    set_environment(machine)


def send(pipe: Connection, message: object) -> None:
    """What a worker has to say, to the driver.

    Raises:
        SystemExit: the driver is gone. That is no failure of a run, whose checkpoint stays: the process ends.
    """
    try:
        pipe.send(message)
    except OSError as error:
        raise SystemExit from error


def set_start_environment() -> None:
    """What must be set before a worker or the server starts."""
    os.environ.setdefault("GLIBC_TUNABLES", ALLOCATOR)
    # a worker of several ranks ends by SIGKILL; Python's tracker of its semaphores would warn of them
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")


def set_environment(machine: Machine) -> None:
    """What must be set before torch is imported."""
    if machine.local.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # torch refuses without it
    set_threads(machine.local.threads)


def set_threads(number: int) -> None:
    """How many threads an operation has, for the libraries that look when they are loaded."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(number)


@contextmanager
def masked() -> Iterator[None]:
    """What is started meanwhile never gets the signals that stop the driver, which gets its own afterwards.

    A process inherits the mask of the thread that starts it. Without it, Ctrl-C would reach a worker that is
    still importing, before `ignore_signals`, and Python would print a traceback.
    """
    resource_tracker.ensure_running()  # which unblocks signals here as it begins: so it is started before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Leave to the driver what reaches it too: it ends the workers."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends, however it ends, where there is Linux's.

    A fork's parent is the server, and the server's is the driver, which `parent_process` means. Elsewhere a
    worker notices when it next reports an epoch.
    """
    if sys.platform != "linux":
        return
    import ctypes

    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    # the kernel tells only of deaths to come
    driver = multiprocessing.parent_process()
    if driver is not None and not driver.is_alive():  # it ended before the line above
        os._exit(1)
