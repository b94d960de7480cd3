"""Runs x executor -> events: cohorts as soon as their teacher is there; a failure stops only its students."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from time import monotonic
from typing import Protocol

from kdbench.plan.cohorts import make_cohorts
from kdbench.spec.events import Blocked, Cohort, Elsewhere, ExecutorEvent, Failed, RunEvent, Task, Update
from kdbench.spec.runs import Run

EVENT_TIMEOUT_S = 0.2
"""Seconds to wait for an event before looking again."""
LATER = 2.0
"""Seconds until a run that another process trains is asked for again."""


class Executor(Protocol):
    """Where runs are trained."""

    @property
    def free(self) -> int:
        """How many more cohorts it would take now."""

    def submit(self, cohort: Cohort) -> None:
        """Start runs beside each other."""

    def events(self, seconds: float) -> Iterator[ExecutorEvent]:
        """What happened since last asked; waits up to so many seconds for the first thing."""

    def close(self) -> None:
        """Stop what still runs. Checkpoints stay."""


def dispatch(
    runs: Sequence[Run],
    executor: Executor,
    *,
    keep: Mapping[str, Collection[int | str]],
    rerun: bool = False,
    cohorts: bool = True,
    trials: Collection[str] = (),
) -> Iterator[RunEvent]:
    """Train runs, teachers before students, what others train now at last; yields what happens.

    Args:
        runs: what `make_plan` gave: teachers first. A teacher that is not among them must be stored.
        executor: where they are trained; it stays open.
        keep: by id, the epochs whose weights must be kept because somebody learns from them.
        rerun: train runs that have a result once more.
        cohorts: train runs that share views and teacher beside each other, in one process.
        trials: the ids of runs whose results lie apart.
    """

    def task(run: Run) -> Task:
        return Task(run, tuple(keep.get(run.id, ())), rerun, run.id in trials)

    waiting = {run.id: run for run in runs}
    running: dict[str, Run] = {}
    elsewhere: dict[str, float] = {}
    failed: dict[str, str] = {}
    while waiting or running:
        for blocked in _blocked(waiting, failed):
            failed[waiting.pop(blocked.id).id] = blocked.teacher
            yield blocked
        due = [run for name, run in waiting.items() if elsewhere.get(name, 0.0) <= monotonic()]
        ready = [run for run in due if _taught(run, waiting, running)]
        for group in _groups(ready, executor.free, cohorts=cohorts):
            executor.submit(tuple(map(task, group)))
            running |= {run.id: waiting.pop(run.id) for run in group}
        for event in executor.events(EVENT_TIMEOUT_S):
            if isinstance(event, Elsewhere):
                waiting[event.id] = running.pop(event.id)
                elsewhere[event.id] = monotonic() + LATER
                continue
            if not isinstance(event, Update):
                running.pop(event.id, None)
            if isinstance(event, Failed | Blocked):
                failed[event.id] = event.teacher if isinstance(event, Blocked) else event.id
            yield event


def _groups(ready: Sequence[Run], free: int, *, cohorts: bool) -> Sequence[tuple[Run, ...]]:
    """What is to be trained beside each other in the workers that are free."""
    if not free:
        return ()
    return (make_cohorts(ready, free) if cohorts else [(run,) for run in ready])[:free]


def _blocked(waiting: Mapping[str, Run], failed: Mapping[str, str]) -> Iterator[Blocked]:
    """Those whose teacher failed, or was blocked itself: teachers come first."""
    causes = dict(failed)
    for name, run in list(waiting.items()):
        if run.teacher and run.teacher.trained and run.teacher.run.id in causes:
            causes[name] = causes[run.teacher.run.id]
            yield Blocked(name, causes[name])


def _taught(run: Run, waiting: Collection[str], running: Collection[str]) -> bool:
    """Whether its teacher is there."""
    teacher = run.teacher.run.id if run.teacher and run.teacher.trained else None
    return teacher not in waiting and teacher not in running
