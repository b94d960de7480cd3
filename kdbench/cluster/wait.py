"""`--wait`: what jobs do, as events, until each run has a result or will not get one."""

import time
from collections.abc import Iterator

from msgspec.structs import replace

from kdbench.cluster.ledger import Ledger
from kdbench.cluster.queue import SchedulerSnapshot, try_snapshot
from kdbench.cluster.scheduler import QUESTION_INTERVAL_S
from kdbench.cluster.status import merge
from kdbench.cluster.submit import Submitted
from kdbench.run.status import State, find_states
from kdbench.spec.events import Blocked, Done, Failed, RunEvent, Update
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from kdbench.store.records import Index, index, load_failure, load_result

READ_INTERVAL_S = 1.0
"""Seconds between two looks at the disk."""


def events(submitted: Submitted) -> Iterator[RunEvent]:
    """What happens to the runs of a submission; ends when nothing more can."""
    left = {run.id: run for run in submitted.work.runs if run.id not in submitted.given_up}
    reported: dict[str, int] = {}
    ledger = Ledger(submitted.machine.scratch)
    asked = -QUESTION_INTERVAL_S
    known = SchedulerSnapshot([], {})
    while left:
        fresh = time.monotonic() - asked >= QUESTION_INTERVAL_S
        if fresh:  # first the scheduler, then the disk: what has left the queue has left its result
            asked = time.monotonic()
            known = try_snapshot(ledger, left)
        there = index(submitted.machine.results)
        now = replace(submitted.work, index=there)
        on_disk = [state for state in find_states(now, submitted.machine) if state.id in left]
        for state in merge(on_disk, known, ledger):
            event = _event(state, left[state.id], there, gone=fresh and not known.trouble)
            if event is None:
                continue
            if not isinstance(event, Update):
                del left[state.id]
            elif reported.get(state.id) == event.epoch:
                continue
            else:
                reported[state.id] = event.epoch
            yield event
        if left:
            time.sleep(READ_INTERVAL_S)


def _event(state: State, run: Run, there: Index, *, gone: bool) -> RunEvent | None:
    """What a run's state says to who follows it; None: nothing yet.

    Args:
        state: the run's.
        run: the run.
        there: what is stored.
        gone: whether the scheduler has just answered, so that a run which no job holds will not come back.
    """
    if state.state == "done":
        path = there.results[run.id]
        return Done(run.id, load_result(path), str(path), trained=True)
    if state.state == "running":
        return Update(run.id, state.epoch, state.top1, state.images_per_second)
    if state.state == "blocked":
        return Blocked(run.id, run.taught_by)
    if state.state == "failed" and run.id in there.failures:
        return Failed(run.id, load_failure(there.failures[run.id]))
    if state.state == "failed" or (state.state in ("stopped", "waiting") and gone):
        cause = state.detail or "its job has left the queue"
        return Failed(run.id, Failure(id=run.id, run=run, cause=cause, log=""))
    return None
