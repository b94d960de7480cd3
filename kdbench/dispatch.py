"""Runs x executor -> events: cohorts as soon as their teacher is there; a failure stops only its students."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from kdbench.cohorts import make_cohorts
from kdbench.executors.local import Executor
from kdbench.jobs import Blocked, Done, Event, Failed, Job
from kdbench.spec import Run

PATIENCE = 0.2
"""Seconds to wait for an event before looking again."""


def dispatch(
    runs: Sequence[Run],
    executor: Executor,
    *,
    keep: Mapping[str, Collection[int | str]],
    again: bool = False,
    cohorts: bool = True,
) -> Iterator[Event]:
    """Train runs, teachers before their students, and tell what happens.

    Args:
        runs: what `make_plan` gave: teachers first. A teacher that is not among them must be stored.
        executor: where they are trained; it stays open.
        keep: by id, the epochs whose weights must be kept because somebody learns from them.
        again: train runs that have a result once more.
        cohorts: train runs that share views and teacher beside each other, in one process.
    """
    waiting = {run.id: run for run in runs}
    running: set[str] = set()
    failed: dict[str, str] = {}
    while waiting or running:
        for blocked in _blocked(waiting, failed):
            del waiting[blocked.id]
            failed[blocked.id] = blocked.teacher
            yield blocked
        free = executor.free
        ready = [run for run in waiting.values() if free and _taught(run, waiting, running)]
        groups = make_cohorts(ready, free) if cohorts else [(run,) for run in ready]
        for group in groups[:free]:
            executor.submit(tuple(Job(run, tuple(keep.get(run.id, ())), again) for run in group))
            running.update(run.id for run in group)
            for run in group:
                del waiting[run.id]
        for event in executor.events(PATIENCE):
            if isinstance(event, Done | Failed | Blocked):
                running.discard(event.id)
            if isinstance(event, Failed | Blocked):
                failed[event.id] = event.teacher if isinstance(event, Blocked) else event.id
            yield event


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
