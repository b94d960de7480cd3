"""How far runs are, from what lies on disk and from the scheduler: what `status` and `--wait` print."""

import time
from collections.abc import Iterable, Iterator, Mapping
from getpass import getuser
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from kdbench.cluster import attempts, submissions
from kdbench.cluster.attempts import Attempt
from kdbench.cluster.scheduler import JobStatus, View, cancel, look
from kdbench.cluster.submissions import Submission
from kdbench.errors import UserError, plain
from kdbench.machine import Machine
from kdbench.plan.selection import Workload
from kdbench.run.status import State, find_states, mark_unreadable


class Place(Struct, frozen=True):
    """A job of a submission: where its runs are in the queue."""

    submission: Submission
    number: int

    @property
    def runs(self) -> tuple[str, ...]:
        """Their ids."""
        return self.submission.elements[self.number]

    @property
    def counts(self) -> bool:
        """Whether it was neither cancelled nor set aside."""
        return self.number not in self.submission.cancelled

    @property
    def key(self) -> tuple[str, int]:
        """As a View knows it."""
        return self.submission.token, self.number

    @property
    def job(self) -> str:
        """As squeue prints it."""
        return self.submission.element(self.number)


class SchedulerSnapshot(Struct, frozen=True):
    """What the scheduler answered."""

    submissions: list[Submission]
    view: View
    trouble: str = ""
    """Why it did not answer."""

    def jobs(self) -> Iterator[tuple[Place, JobStatus | None]]:
        """Every job of the submissions, in their order (newest first); None: the scheduler forgot it."""
        for submission in self.submissions:
            for number in range(len(submission.elements)):
                place = Place(submission, number)
                yield place, self.view.get(place.key)


def states_of(work: Workload, machine: Machine) -> tuple[list[State], str]:
    """The state of each run, and why the scheduler did not answer ("" if it did).

    It is asked once, and only if a run without a result was ever submitted.
    """
    states = find_states(work, machine)
    known = ask_scheduler(machine.scratch, [state.id for state in states if state.state != "done"])
    return mark_unreadable(merge(states, known, machine), work), known.trouble


def ask_scheduler(scratch: Path, runs: Iterable[str]) -> SchedulerSnapshot:
    """What the scheduler says on the jobs of these runs; one call, none where they have no jobs."""
    found = submissions.concerning(submissions.load(scratch), runs)
    try:
        return SchedulerSnapshot(found, look(found))
    except UserError as error:
        return SchedulerSnapshot(found, {}, str(error))


def merge(states: Iterable[State], known: SchedulerSnapshot, machine: Machine) -> list[State]:
    """Add what the scheduler knows to what lies on the disk."""
    states = list(states)
    waiting = [state.id for state in states if state.state != "done"]
    places = under_way(machine, waiting, known.view)
    left = [run for run in waiting if run not in places]
    started = attempts.load_all(machine.scratch, left)
    dead, ended = dead_jobs(machine.scratch, left, known), _ends(known)
    merged = []
    for state in states:
        place = places.get(state.id)
        if state.state == "done":
            merged.append(state)
        elif place is None:
            last = started[state.id].last if state.id in started else None
            merged.append(_off_the_queue(state, last, dead, ended))
        else:
            merged.append(_in_the_queue(state, place, known.view[place.key], machine, places))
    return merged


SLURMS_OWN = ("srun:", "slurmstepd:")
"""How lines begin in which Slurm reports the consequence: the cause stands before them."""


def dead_jobs(scratch: Path, runs: Iterable[str], known: SchedulerSnapshot) -> dict[str, list[Place]]:
    """By run: its jobs that are over and never began it, the newest first; runs without any are left out.

    kdbench has written nothing of them: Python was not there, the profile's setup failed, or somebody
    ended them before. Nothing where the scheduler does not answer, as a job may still be waiting then.
    """
    if known.trouble:
        return {}
    wanted = set(runs)
    over: dict[str, list[Place]] = {}
    for place, seen in known.jobs():
        # a job that the scheduler does not know is over: it forgets jobs minutes after their end; one without
        # a number is being submitted at this moment, and nothing is known of it
        alive = seen is not None and seen.alive
        if place.submission.job and place.counts and not alive:
            for run in wanted.intersection(place.runs):
                over.setdefault(run, []).append(place)
    dead = {}
    started = attempts.load_all(scratch, over)
    for run, places in over.items():
        # what has begun a run has written that down first: its end is judged by its attempts, not here
        begun = {attempt.job for attempt in started[run].attempts} if run in started else set()
        if never := [place for place in places if place.job not in begun]:
            dead[run] = never
    return dead


def how_it_died(place: Place) -> str:
    """Which job ended before kdbench began, the cause that it wrote, and where the rest is."""
    file = place.submission.error_file(place.number)
    lines = error_tail(file, 20)
    causes = [line for line in lines if not line.startswith(SLURMS_OWN)] or lines
    how = "was cancelled" if was_cancelled(place) else "ended"
    why = f": {plain(causes[-1].strip())} ({file})" if causes else ""
    return f"job {place.job} {how} before kdbench began{why}"


def was_cancelled(place: Place) -> bool:
    """Whether somebody ended a job while it ran (`scancel`), or Slurm for a more urgent one.

    Slurm has then written the like of `slurmstepd-n1: error:
    *** JOB 870 ON n1 CANCELLED AT 2026-11-28T20:02:18`.
    """
    lines = error_tail(place.submission.error_file(place.number), 20)
    return any(" CANCELLED AT " in line and "TIME LIMIT" not in line for line in lines)


def error_tail(file: Path, lines: int) -> list[str]:
    """The last lines, without empty ones, that a job wrote to standard error; none where it wrote none."""
    try:
        written = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in written.splitlines() if line.strip()][-lines:]


def _in_the_queue(
    state: State, place: Place, seen: JobStatus, machine: Machine, places: dict[str, Place]
) -> State:
    """A run whose job lives: what the disk says, corrected by how far this very job has come with it."""
    # what another job has written of the run, or this one before it was requeued, is not news of today
    last = attempts.load(machine.scratch, state.id).last if seen.state == "RUNNING" else None
    mine = last if last is not None and last.job == seen.job else None
    if mine is not None and attempts.failed_in(mine, seen.job):
        return replace(state, state="failed", detail=state.detail or mine.why)
    if state.state == "blocked" and state.teacher not in places:  # else its teacher is tried once more
        return state
    if state.state == "running" or (mine is not None and mine.cause == ""):
        return _running(state, mine)
    return replace(state, state="queued", detail=_why_queued(place, seen))


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


def _why_queued(place: Place, seen: JobStatus) -> str:
    if seen.state == "RUNNING":
        return f"in job {place.job}, which runs on {seen.node}"
    if seen.state != "PENDING":
        return f"job {place.job} is {seen.state.lower()}"
    if seen.held:
        return f"job {place.job}, held: {seen.reason}; `kdbench retry` releases it"
    start = f", thought to start {seen.start}" if seen.start not in ("N/A", "", "Unknown") else ""
    return f"job {place.job}, pending: {seen.reason}{start}"


def _off_the_queue(
    state: State, last: Attempt | None, dead: Mapping[str, list[Place]], ended: Mapping[str, str]
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
        return replace(state, state="failed", detail=how_it_died(dead[state.id][0]))
    begun = state.epoch or (last is not None and last.cause == "stopped")  # perhaps without a checkpoint
    word = "stopped" if begun else state.state
    detail = ended.get(state.id, "")
    if not detail and last is not None:
        detail = f"job {last.job}: {last.cause or 'nobody saw its end'}"
        detail += f", {last.why}" if last.why else ""
    return replace(state, state=word, detail=detail)


def _ends(known: SchedulerSnapshot) -> dict[str, str]:
    """By run: what the scheduler says of the newest of its jobs that it remembers."""
    found: dict[str, str] = {}
    for place, seen in known.jobs():
        if seen is not None:
            for run in place.runs:
                found.setdefault(run, f"job {seen.job} is {seen.state.lower()}")
    return found


SETTLED = 60
"""Seconds after which sbatch, whose caller was killed, has done what it will do."""
LOOK = 2.0
"""Seconds between two questions whether it has."""


def under_way(machine: Machine, runs: Iterable[str], view: View | None = None) -> dict[str, Place]:
    """Which of these runs are queued or running, and where.

    Raises:
        UserError: the scheduler does not answer.
    """
    wanted = set(runs)
    known = submissions.concerning(submissions.load(machine.scratch), wanted)
    snapshot = SchedulerSnapshot(known, look(known) if view is None else view)
    found: dict[str, Place] = {}
    for place, seen in snapshot.jobs():
        if seen is not None and seen.alive and place.counts:
            number = place.submission.job or seen.job.partition("_")[0]  # not written down yet
            named = replace(place, submission=replace(place.submission, job=number))
            for run in wanted.intersection(place.runs):
                found.setdefault(run, named)
    return found


def clear_broken_off(scratch: Path) -> None:
    """Cancel and forget what this user's drivers were submitting when they were killed.

    For who holds the lock of submitting: nobody else is at it. A killed driver's sbatch lives on, so its jobs
    may appear only now; and they lack what they are to do, which submitit puts in place after sbatch answers.

    Raises:
        UserError: the scheduler does not answer.
    """
    broken = [one for one in submissions.load(scratch) if not one.job and one.user == getuser()]
    while broken:
        view = look(broken)
        # 1234_5 -> 1234: the whole array
        cancel(sorted({seen.job.partition("_")[0] for seen in view.values() if seen.alive}))
        appeared = {token for token, _ in view}
        over = [one for one in broken if one.token in appeared or time.time() - one.at > SETTLED]
        submissions.forget(scratch, over)
        broken = [one for one in broken if one not in over]
        if broken:
            time.sleep(LOOK)
