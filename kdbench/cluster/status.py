"""How far runs are, from the disk, the ledger and the scheduler: what `status` and `--wait` print."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from kdbench.cluster.ledger import Attempt, Ledger, SubmittedJob
from kdbench.cluster.queue import SchedulerSnapshot, read_death, try_snapshot
from kdbench.cluster.scheduler import JobStatus
from kdbench.machine import Machine
from kdbench.plan.selection import Workload
from kdbench.run.status import State, find_states, mark_unreadable


def states_of(work: Workload, machine: Machine) -> tuple[list[State], str]:
    """The state of each run, and why the scheduler did not answer ("" if it did).

    It is asked once, and only if a run without a result was ever submitted.
    """
    ledger = Ledger(machine.scratch)
    states = find_states(work, machine)
    known = try_snapshot(ledger, [state.id for state in states if state.state != "done"])
    return mark_unreadable(merge(states, known, ledger), work), known.trouble


def merge(states: Iterable[State], known: SchedulerSnapshot, ledger: Ledger) -> list[State]:
    """Add what the ledger and the scheduler know to what lies on the disk.

    `waiting` of a run may become `queued`, with its job and why that waits; `running` gets the node, the job
    and the speed; a run that no living job holds is `stopped` or `failed`, with the reason.
    """
    states = list(states)
    waiting = [state.id for state in states if state.state != "done"]
    jobs = known.under_way(waiting)
    histories = ledger.histories(waiting)
    dead = known.never_began({run: histories[run] for run in waiting if run not in jobs})
    ended = known.ends()
    merged = []
    for state in states:
        if state.state == "done":
            merged.append(state)
            continue
        last = histories[state.id].last
        if state.id in jobs:
            job = jobs[state.id]
            merged.append(_in_the_queue(state, job, known.view[job.key], last, jobs))
        else:
            merged.append(_off_the_queue(state, last, dead, ended))
    return merged


def _in_the_queue(
    state: State, job: SubmittedJob, seen: JobStatus, last: Attempt | None, jobs: Mapping[str, SubmittedJob]
) -> State:
    """A run whose job lives: what the disk says, corrected by how far this very job has come with it."""
    # what another job has written of the run, or this one before it was requeued, is not news of today
    current = last is not None and last.job == seen.job and seen.state == "RUNNING"
    mine = last if current else None
    if mine is not None and mine.cause == "failed":
        return replace(state, state="failed", detail=state.detail or mine.why)
    if state.state == "blocked" and state.teacher not in jobs:  # else its teacher is tried once more
        return state
    if state.state == "running" or (mine is not None and mine.cause == ""):
        return _running(state, mine)
    return replace(state, state="queued", detail=_why_queued(job, seen))


def _running(state: State, attempt: Attempt | None) -> State:
    """The state of a run that trains, with what its latest start has written down of itself."""
    if attempt is None:
        return state
    speed = f"{attempt.images_per_second:,.0f} images/s, " if attempt.images_per_second else ""
    top1 = f"top1 {attempt.top1:.2f}, " if attempt.epoch > attempt.start else ""
    gpu = f", GPU {attempt.gpu}" if attempt.gpu else ""
    detail = f"{top1}{speed}on {attempt.node}{gpu} (job {attempt.job})"
    return replace(
        state,
        state="running",
        epoch=max(state.epoch, attempt.epoch),
        top1=attempt.top1,
        images_per_second=attempt.images_per_second,
        detail=detail,
    )


def _why_queued(job: SubmittedJob, seen: JobStatus) -> str:
    if seen.state == "RUNNING":
        return f"in job {job.id}, which runs on {seen.node}"
    if seen.state != "PENDING":
        return f"job {job.id} is {seen.state.lower()}"
    if seen.held:
        return f"job {job.id}, held: {seen.reason}; `kdbench retry` releases it"
    start = f", thought to start {seen.start}" if seen.start not in ("N/A", "", "Unknown") else ""
    return f"job {job.id}, pending: {seen.reason}{start}"


def _off_the_queue(
    state: State, last: Attempt | None, dead: Mapping[str, list[SubmittedJob]], ended: Mapping[str, str]
) -> State:
    """A run that no living job holds: why it stands still, the surest source first."""
    if state.state in ("failed", "blocked"):
        return state
    if state.state == "running":
        return _running(state, last if last and last.cause == "" else None)
    if last is not None and last.cause == "failed":
        return replace(state, state="failed", detail=last.why)
    if state.teacher in dead:
        return replace(state, state="blocked", detail=f"its teacher {state.teacher} failed")
    if state.id in dead:
        return replace(state, state="failed", detail=str(read_death(dead[state.id][0])))
    begun = state.epoch or (last is not None and last.cause == "stopped")  # perhaps without a checkpoint
    word = "stopped" if begun else state.state
    detail = ended.get(state.id, "")
    if not detail and last is not None:
        detail = f"job {last.job}: {last.cause or 'its end was not written down'}"
        detail += f", {last.why}" if last.why else ""
    return replace(state, state=word, detail=detail)
