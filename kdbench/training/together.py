"""One run in several processes of this machine: the worker is the first of them and starts the others.

They live as long as the run. Each sees its share of every batch, and all take the same steps; the first one
alone writes. One that dies is the failure of the run: the first one's next exchange with it fails at once.
"""

import multiprocessing
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch
from msgspec.structs import replace
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from kdbench.errors import DivergedError
from kdbench.executors.local import ending, prepare_worker
from kdbench.jobs import Job
from kdbench.machine import Machine
from kdbench.spec import Result
from kdbench.training.group import TIMEOUT, Group, join
from kdbench.training.run import Watch, train_cohort
from kdbench.training.world import World, open_world

HERE = "127.0.0.1"
GRACE = 10.0
"""Seconds for the others to end when the run has, or to say why they have."""


@dataclass(frozen=True)
class Other:
    """Another process of the run."""

    rank: int
    process: SpawnProcess
    pipe: Connection


def train_together(job: Job, world: World, watch: Watch) -> Iterator[tuple[Job, Result | Exception]]:
    """Train a run in as many processes as benchmark.toml says; tell how it ends.

    Raises:
        Exception: it cannot begin.
    """
    others: list[Other] = []
    try:
        with gathered(job, world, others):
            for _, end in train_cohort([job], world, watch):
                yield job, explained(end, others) if isinstance(end, Exception) else end
                if isinstance(end, Exception):
                    stop(others)  # they wait for this process
    except Exception as error:
        cause = explained(error, others)
        if cause is error:
            raise
        raise cause from error
    finally:
        stop(others)


@contextmanager
def gathered(job: Job, world: World, others: list[Other]) -> Iterator[None]:
    """Start the others of a run and make this process the first of the group."""
    size = world.machine.local.processes
    store = TCPStore(HERE, 0, size, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
    others += [start(job, world, rank, store.port) for rank in range(1, size)]
    for other in others:
        said = heard(other)
        if said is not None:
            raise said
    world.group = join(0, size, store, world.device)
    try:
        yield
        for other in others:
            other.process.join(GRACE)
    finally:
        world.group = Group()
        torch.distributed.destroy_process_group()


def start(job: Job, world: World, rank: int, port: int) -> Other:
    """Start a process of a run, on the next GPU where there are several."""
    device, machine = world.device, world.machine
    name = "cpu"
    if device.type == "cuda":
        name = f"cuda:{((device.index or 0) + rank) % torch.cuda.device_count()}"
    machine = replace(machine, local=replace(machine.local, device=name))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=follow, args=(theirs, machine, job, rank, port), daemon=True)
    process.start()
    theirs.close()
    return Other(rank, process, ours)


def stop(others: list[Other]) -> None:
    """End them, now."""
    for other in others:
        other.process.kill()
        other.process.join()


def follow(pipe: Connection, machine: Machine, job: Job, rank: int, port: int) -> None:
    """What another process does: its share of the run; says first that it is there, then what goes wrong."""
    prepare_worker(machine, None)
    size = machine.local.processes
    try:
        world = open_world(machine)
        store = TCPStore(HERE, port, size, is_master=False, timeout=TIMEOUT)
        pipe.send(None)
        world.group = join(rank, size, store, world.device)
        train_share(job, world)
        torch.distributed.destroy_process_group()
    except Exception as error:  # noqa: BLE001 - whatever it is, the first process tells it
        with suppress(OSError):
            pipe.send((f"{type(error).__name__}: {error}", traceback.format_exc()))
        raise SystemExit(1) from None


def train_share(job: Job, world: World) -> None:
    """Do this process's share of a run; that it diverges is for the first process to tell."""
    for _, end in train_cohort([job], world):
        if isinstance(end, Exception) and not isinstance(end, DivergedError):
            raise end


def explained(error: Exception, others: list[Other]) -> Exception:
    """Why an exchange with the others failed: what the one that died has said, or how it ended."""
    if not isinstance(error, RuntimeError):
        return error
    dead = wait([other.pipe for other in others], GRACE)
    causes = [heard(other) for other in others if other.pipe in dead]
    return next((cause for cause in causes if cause is not None), error)


def heard(other: Other) -> ChildProcessError | None:
    """What another process says next, or that it is dead; None: it is there."""
    who = f"process {other.rank + 1} of the run"
    try:
        said: tuple[str, str] | None = other.pipe.recv()
    except (EOFError, OSError):
        other.process.join()
        return ChildProcessError(f"{who} died ({ending(other.process.exitcode)})")
    if said is None:
        return None
    error = ChildProcessError(f"{who} failed: {said[0]}")
    error.add_note(said[1])
    return error
