"""The other processes of a run that several share: who starts them, hears what they say, and ends them.

No torch here: a process is told its threads before it imports it.
"""

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from msgspec import Struct

from kdbench import catalog
from kdbench.machine import Machine
from kdbench.spec.events import Task
from kdbench.workers.process import ending, prepare_worker

GRACE = 10.0
"""Seconds for the others to end when the run has, or to say why they have."""
Message = tuple[str, str] | None
"""What went wrong with a process, in a line and as a whole ("": it died); None: it is there and goes on."""


class Share(Struct, frozen=True):
    """A process's place in a run."""

    task: Task
    rank: int
    size: int
    """Processes of the run."""
    host: str
    """Where they meet."""
    port: int
    device: str
    """`cpu` or `cuda`, as the first process trains."""
    own_gpus: bool
    """Whether each process has a GPU to itself."""
    seat: int = 0
    """Which of the GPUs that it sees it takes, in turn where there are fewer."""


@dataclass(frozen=True)
class Peer:
    """A process of a run on this machine that another one has started."""

    rank: int
    process: SpawnProcess
    pipe: Connection
    count: int = 1
    """Processes that are heard here."""

    def receive(self) -> Message:
        """What it says next, or how it died."""
        who = f"process {self.rank + 1} of the run"
        try:
            message: Message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return f"{who} died ({ending(self.process.exitcode)})", ""
        return message and (f"{who} failed: {message[0]}", message[1])

    def finish(self) -> None:
        """Let it end, as the run has."""
        self.process.join(GRACE)

    def stop(self) -> None:
        """End it, now."""
        self.process.kill()
        self.process.join()


def start(machine: Machine, share: Share) -> Peer:
    """Start a process of a run."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=take_part, args=(theirs, machine, share), daemon=True)
    process.start()
    theirs.close()
    return Peer(share.rank, process, ours)


def take_part(pipe: Connection, machine: Machine, share: Share) -> None:
    """What such a process does: its share of the run."""
    prepare_worker(machine, None)
    follow = catalog.load("kdbench.training.together:follow")

    follow(pipe, machine, share)
