"""What worker processes of tests do. A process of its own imports this file, and nothing of pytest."""

import os
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.spec.events import Died, Update
from kdbench.workers.process import prepare_worker

PRELOADED = "wave"
"""A module that nothing imports, for a server to have."""


def echo(_: Machine, words: list[str]) -> Iterator[str]:
    """Each word; `wrong` is wrong in two ways, and `end` is the end of the process."""
    for word in words:
        if word == "broken":
            raise ZeroDivisionError("by zero")
        if word == "closed":
            raise PermissionError(13, "Permission denied", "/data")
        if word == "wrong":
            raise UserError("one", "two")
        if word == "end":
            os._exit(3)
        yield word


def describe(pipe: Connection, machine: Machine, module: str = PRELOADED) -> None:
    """Send whether a module is there, the parent and its threads; then wait for the end."""
    there = module in sys.modules
    prepare_worker(machine, None)
    pipe.send((there, os.getppid(), len(list(Path(f"/proc/{os.getppid()}/task").iterdir()))))
    pipe.recv()


def lose(pipe: Connection, _: Machine) -> None:
    """Lose one of the ranks with each run."""
    pipe.recv()
    pipe.send(Died("process 2 of the run died (SIGKILL)"))


def hold(pipe: Connection, machine: Machine) -> None:
    """Take runs, one at a time, and never come beyond their first epoch."""
    prepare_worker(machine, None)
    while True:
        (task,) = pipe.recv()
        pipe.send(Update(task.run.id, 1, 10.0, 100.0))
