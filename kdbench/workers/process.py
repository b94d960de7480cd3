"""A worker: a process of its own that trains one cohort at a time."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
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


class Worker:
    """A process that trains one cohort at a time."""

    def __init__(
        self, machine: Machine, target: Callable[..., object], more: tuple[object, ...] = ()
    ) -> None:
        os.environ.setdefault("GLIBC_TUNABLES", ALLOCATOR)
        # a worker of several ranks ends by SIGKILL; Python's tracker of its semaphores would warn of them
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, machine, *more))
        self.process.daemon = machine.local.processes == 1  # a daemon could not start ranks
        self.process.start()
        theirs.close()
        self.tasks: dict[str, Task] = {}
        """Its runs that have not ended, by id."""

    def stop(self) -> None:
        """End the process, now: whatever it is writing, it is whole or not there."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        killed = " - the kernel ends processes so when memory runs out" if code == -signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{killed}"
    return f"exit code {code}"


def prepare_worker(machine: Machine, gpu: str | None) -> None:
    """What a worker process does before it imports torch."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it reaches the driver too, which ends the workers
    die_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    set_environment(machine)


def set_environment(machine: Machine) -> None:
    """What must be set before torch is imported."""
    if machine.local.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # torch refuses without it
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(machine.local.threads)


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends, however it ends, where there is Linux's.

    Elsewhere a worker notices when it next reports an epoch.
    """
    if sys.platform != "linux":
        return
    import ctypes

    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it ended before the line above
        os._exit(1)
