"""Runs x executor -> events: each run as soon as its teacher is there; a failure stops only its students."""

from collections.abc import Collection, Iterator, Mapping, Sequence

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
) -> Iterator[Event]:
    """Train runs, teachers before their students, and tell what happens.

    Args:
        runs: what `make_plan` gave: teachers first. A teacher that is not among them must be stored.
        executor: where they are trained; it stays open.
        keep: by id, the epochs whose weights must be kept because somebody learns from them.
        again: train runs that have a result once more.
    """
    waiting = {run.id: run for run in runs}
    running: set[str] = set()
    failed: dict[str, str] = {}
    while waiting or running:
        for name, run in list(waiting.items()):
            teacher = run.teacher.run.id if run.teacher and run.teacher.trained else None
            if teacher in failed:
                failed[name] = failed[teacher]
                del waiting[name]
                yield Blocked(name, failed[name])
            elif executor.free and teacher not in waiting and teacher not in running:
                executor.submit(Job(run, tuple(keep.get(name, ())), again))
                running.add(name)
                del waiting[name]
        for event in executor.events(PATIENCE):
            if isinstance(event, Done | Failed | Blocked):
                running.discard(event.id)
            if isinstance(event, Failed | Blocked):
                failed[event.id] = event.teacher if isinstance(event, Blocked) else event.id
            yield event
