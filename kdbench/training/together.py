"""One run in several processes: the worker is the first of them and lets the others be started.

Those of its own machine it starts itself, those of other machines are started there (workers/agent.py). They
live as long as the run. Each sees its share of every batch, and all take the same steps; the first one alone
writes. When one dies, the first one's next exchange with it fails; whether the run is tried again, the
executor says.
"""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait

import torch
from msgspec.structs import replace
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from kdbench.errors import DiedError, DivergedError
from kdbench.machine import Machine
from kdbench.spec.events import Task
from kdbench.spec.results import Result
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.group import TIMEOUT, Group, join
from kdbench.training.run import Watch, train_cohort
from kdbench.workers.peer import GRACE, Peer, Share, start
from kdbench.workers.rendezvous import Called, divide

HERE = "127.0.0.1"
Peers = list[Peer | Called]


def train_together(
    task: Task, context: TrainingContext, watch: Watch
) -> Iterator[tuple[Task, Result | Exception]]:
    """Train a run in as many processes as there are for it; tell how it ends.

    Raises:
        Exception: it cannot begin.
    """
    others: Peers = []
    try:
        with gathered(task, context, others):
            for _, end in train_cohort([task], context, watch):
                yield task, explained(end, others) if isinstance(end, Exception) else end
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
def gathered(task: Task, context: TrainingContext, others: Peers) -> Iterator[None]:
    """Start the others of a run and make this process the first of the group."""
    crews = context.door.gather() if context.door else []
    host = context.door.address.host if context.door else HERE
    store = TCPStore(host, 0, context.processes, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
    others += begin(shares(task, context, host, store.port), crews, context)
    for other in others:
        for _ in range(other.count):
            if (message := other.receive()) is not None:
                raise failed(message)
    context.group = join(0, context.processes, store, context.device, own_gpus=own_gpus(context))
    try:
        yield
        for other in others:
            other.finish()
    finally:
        context.group = Group()
        torch.distributed.destroy_process_group()


def shares(task: Task, context: TrainingContext, host: str, port: int) -> list[Share]:
    """What the others do, by rank; on this machine each takes the next GPU."""
    device = context.device
    return [
        Share(
            task=task,
            rank=rank,
            size=context.processes,
            host=host,
            port=port,
            device=device.type,
            own_gpus=own_gpus(context),
            seat=(device.index or 0) + rank,
        )
        for rank in range(1, context.processes)
    ]


def own_gpus(context: TrainingContext) -> bool:
    """Whether each process of a run has a GPU to itself: nodes are taken to be alike."""
    here = context.door.here if context.door else context.processes
    return context.device.type == "cuda" and torch.cuda.device_count() >= here


def begin(
    shares: Sequence[Share], crews: Sequence[Called], context: TrainingContext
) -> Iterator[Peer | Called]:
    """Start processes: the first ones here, the rest by crews."""
    here = context.machine.local.processes - 1
    yield from (start(context.machine, share) for share in shares[:here])
    for crew, some in divide(shares[here:], crews):
        with suppress(OSError):  # it is gone, which it says when it is listened to
            crew.start(some)
        yield crew


def stop(others: Peers) -> None:
    """End them, now."""
    for other in others:
        other.stop()


def follow(pipe: Connection, machine: Machine, share: Share) -> None:
    """What another process does: its share of the run; says first that it is there, then what goes wrong."""
    try:
        context = open_context(seated(machine, share))
        store = TCPStore(share.host, share.port, share.size, is_master=False, timeout=TIMEOUT)
        pipe.send(None)
        context.group = join(share.rank, share.size, store, context.device, own_gpus=share.own_gpus)
        train_share(share.task, context)
        torch.distributed.destroy_process_group()
    except Exception as error:  # noqa: BLE001 - whatever it is, the first process tells it
        with suppress(OSError):
            pipe.send((f"{type(error).__name__}: {error}", traceback.format_exc()))
        raise SystemExit(1) from None


def seated(machine: Machine, share: Share) -> Machine:
    """The machine with this process's device chosen."""
    name = share.device
    if name == "cuda":
        name = f"cuda:{share.seat % max(1, torch.cuda.device_count())}"
    return replace(machine, local=replace(machine.local, device=name))


def train_share(task: Task, context: TrainingContext) -> None:
    """Do this process's share of a run; that it diverges is for the first process to tell."""
    for _, end in train_cohort([task], context):
        if isinstance(end, Exception) and not isinstance(end, DivergedError):
            raise end


def explained(error: Exception, others: Peers) -> Exception:
    """Why an exchange with the others failed: what the one that died has said, or how it ended."""
    if not isinstance(error, RuntimeError):
        return error
    dead = wait([other.pipe for other in others], GRACE)
    causes = [other.receive() for other in others if other.pipe in dead]
    return next((failed(message) for message in causes if message is not None), error)


def failed(message: tuple[str, str]) -> Exception:
    """What a process said as it failed; one that died could say nothing."""
    line, whole = message
    if not whole:
        return DiedError(line)
    error = ChildProcessError(line)
    error.add_note(whole)
    return error
