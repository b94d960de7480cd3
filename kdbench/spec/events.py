"""The messages between who hands out runs and who trains them. No torch here."""

from msgspec import Struct

from kdbench.spec.results import Failure, Result
from kdbench.spec.runs import Run


class Task(Struct, frozen=True):
    """A run to be trained."""

    run: Run
    keep: tuple[int | str, ...] = ()
    """The epochs, or "best", whose weights are kept for students."""
    rerun: bool = False
    """Train it although it has a result, which stays; the new one is kept beside it."""
    trial: bool = False
    """Its recipe or loss is none of a suite: the result lies apart from those meant for git."""


Cohort = tuple[Task, ...]
"""Runs that one process trains beside each other: see kdbench/plan/cohorts.py."""


class Update(Struct, frozen=True):
    """An epoch of a run is over."""

    id: str
    epoch: int
    top1: float
    images_per_second: float


class Done(Struct, frozen=True):
    """A run has a result."""

    id: str
    result: Result
    path: str
    trained: bool
    """False where another process had trained it meanwhile."""


class Failed(Struct, frozen=True):
    """A run has no result, and why."""

    id: str
    failure: Failure


class Blocked(Struct, frozen=True):
    """A run's teacher failed, so it cannot start."""

    id: str
    teacher: str
    """The id of the run that failed."""


class Elsewhere(Struct, frozen=True):
    """Another process trains a run now, or has taken it over: it is to be asked for again later."""

    id: str


class Died(Struct, frozen=True):
    """One of the ranks of a worker died or failed, and the worker is gone: the last thing that it sends."""

    why: str
    whole: str = ""
    """With its traceback, where there is one."""


RunEvent = Update | Done | Failed | Blocked
"""What is shown to a person."""

ExecutorEvent = RunEvent | Elsewhere
"""What an executor yields."""

Event = ExecutorEvent
"""What a worker sends, and `Died` where it cannot go on."""
