"""The ledger of a cluster's jobs: what was submitted, and what became of each start of each run.

It is two folders of records in the scratch folder, as a driver and a node must never write the same file:

    slurm/submissions/TOKEN.json    a Submission, one call of sbatch: written by drivers, under a lock
    attempts/ID.json                a History, the starts of one run: written in the job that trains it

A submission is written down before sbatch is called, and its jobs carry the token as their comment: a driver
that dies in between leaves nothing that the next one could not find again. A job may end without a sign of
it (its node died, its process was killed): so a start is written down before anything is trained, its end
when it is known, and the next start judges the one before it.
"""

import getpass
import os
import time
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path
from secrets import token_hex
from typing import Literal

from filelock import FileLock
from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.spec.events import Update
from kdbench.store.files import names_in
from kdbench.store.json_files import load_folder, load_json, save_json

MAX_RESTARTS = 2
"""How often a run is started again after its process died."""
MAX_DEATHS = 3
"""Deaths at one epoch, of whatever cause but the scheduler's, after which a run has failed."""
Cause = Literal["", "done", "failed", "stopped", "time", "crash", "lost"]
"""`stopped`: preempted, requeued or cancelled. `time`: its job's time was up. `crash`: its process died.
`lost`: its end was never written. "": it is under way, or lost and not yet judged."""
DEADLY: tuple[Cause, ...] = ("time", "crash", "lost")


class Submission(Struct, frozen=True, kw_only=True):
    """One job, or one array of jobs."""

    token: str
    name: str
    """As squeue prints it."""
    profile: str
    user: str
    at: float
    """Seconds since 1970."""
    elements: tuple[tuple[str, ...], ...]
    """The ids of the runs of each job, in the order they are trained."""
    logs: str
    """The folder of the jobs' own output."""
    job: str = ""
    """The number that sbatch gave; "" until it is known."""
    cancelled: tuple[int, ...] = ()
    """Jobs of it that no longer count: ended by `kdbench cancel`, though Slurm shows them as alive for some
    seconds more, or set aside by `kdbench retry`."""

    @property
    def jobs(self) -> "tuple[SubmittedJob, ...]":
        """One for each of its elements."""
        return tuple(SubmittedJob(self, number) for number in range(len(self.elements)))


class SubmittedJob(Struct, frozen=True):
    """A job of a submission."""

    submission: Submission
    number: int
    """Its place in the array; 0 of a single job."""

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of its runs."""
        return self.submission.elements[self.number]

    @property
    def counts(self) -> bool:
        """Whether it was neither cancelled nor set aside."""
        return self.number not in self.submission.cancelled

    @property
    def key(self) -> tuple[str, int]:
        """How a View of the scheduler names it."""
        return self.submission.token, self.number

    @property
    def id(self) -> str:
        """As squeue prints it: `1234`, or `1234_5` in an array."""
        alone = len(self.submission.elements) == 1
        return self.submission.job if alone else f"{self.submission.job}_{self.number}"

    @property
    def error_file(self) -> Path:
        """Where submitit keeps what the job, and its shell, wrote to standard error."""
        return Path(self.submission.logs, f"{self.id}_0_log.err")


class Attempt(Struct, frozen=True, kw_only=True):
    """One start of a run."""

    job: str
    """As squeue prints it: `1234`, or `1234_5` in an array."""
    node: str
    gpu: str
    """Its number on the node; "" without."""
    started: float
    """Seconds since 1970."""
    start: int
    """The epoch it went on from: that of its checkpoint."""
    epoch: int = 0
    """The last one that was reported."""
    top1: float = 0.0
    images_per_second: float = 0.0
    cause: Cause = ""
    why: str = ""


class History(Struct, frozen=True):
    """All starts of a run, in order; none of one that was never started on a cluster."""

    attempts: tuple[Attempt, ...] = ()

    @property
    def last(self) -> Attempt | None:
        """The latest start."""
        return self.attempts[-1] if self.attempts else None

    def failed_in(self, job: str) -> bool:
        """Whether the latest start was in this job, and failed."""
        return self.last is not None and self.last.job == job and self.last.cause == "failed"

    def judged(self) -> "History":
        """With each start whose end was never written named as `lost`, where none is under way any more."""
        return History(tuple(replace(one, cause=one.cause or "lost") for one in self.attempts))

    def given_up(self, epoch: int, max_timeouts: int | None = None) -> str:
        """Why a run that no job trains now is not started again; "" if it may be.

        Args:
            epoch: that of its checkpoint, from which it would go on.
            max_timeouts: how often its jobs' time may be up before it has failed; None: any number of times.
        """
        ended = self.judged().attempts
        causes = [one.cause for one in ended]
        crashes, timeouts = causes.count("crash"), causes.count("time")
        deaths_here = sum(one.cause in DEADLY and one.start == epoch for one in ended)
        hint = "; `kdbench retry` starts it anew"
        last = next((one.why for one in reversed(ended) if one.why), "")
        why = f" ({last})" if last else ""
        if crashes > MAX_RESTARTS:
            return f"its process died {crashes} times, last after epoch {epoch}{why}{hint}"
        if deaths_here >= MAX_DEATHS:
            return f"it died {MAX_DEATHS} times after epoch {epoch}, and would again{why}{hint}"
        if max_timeouts is not None and timeouts > max_timeouts:
            return (
                f"its jobs' time was up {timeouts} times, epoch {epoch} is reached: give the profile "
                f"a longer [slurm] time{hint}"
            )
        return ""

    def changed(self, job: str, before: Collection[Cause], **what: object) -> "History":
        """With the latest start by this job changed so, if its cause is one of `before`; else as it is."""
        attempts = list(self.attempts)
        for at in reversed(range(len(attempts))):
            if attempts[at].job == job:
                if attempts[at].cause in before:
                    attempts[at] = replace(attempts[at], **what)
                break
        return History(tuple(attempts))


NEVER_STARTED = History()


class Ledger:
    """The records in a scratch folder. Nothing else of kdbench reads or writes them.

    Every method that reads raises UserError where a record is broken, every one that writes where the folder
    cannot be written.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._submissions = scratch / "slurm" / "submissions"
        self._attempts = scratch / "attempts"

    # what was submitted

    def lock(self) -> FileLock:
        """Held by who submits or cancels, from looking at what is there until it is changed."""
        lock = self.scratch / "slurm" / "submit.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(lock)

    def new_submission(self, name: str, profile: str, elements: Sequence[Sequence[str]]) -> Submission:
        """A submission that is about to be made, and not yet saved."""
        user = _user()
        return Submission(
            token=token_hex(8),
            name=name,
            profile=profile,
            user=user,
            at=time.time(),
            elements=tuple(map(tuple, elements)),
            logs=str(self.scratch / "slurm" / "jobs" / user),
        )

    def save(self, submission: Submission) -> None:
        """Write a submission down, or again with what is known now."""
        save_json(self._submissions / f"{submission.token}.json", submission)

    def submissions(self, runs: Iterable[str] | None = None) -> list[Submission]:
        """Those that hold any of these runs, or all that are remembered; the newest first."""
        records = load_folder(self._submissions, Submission, what="record of a submission", hint="remove it")
        found = sorted(records.values(), key=lambda submission: -submission.at)
        if runs is None:
            return found
        wanted = set(runs)
        return [one for one in found if not wanted.isdisjoint(chain(*one.elements))]

    def broken_off(self) -> list[Submission]:
        """Those of this user whose driver has not written what became of its call of sbatch."""
        user = _user()
        return [one for one in self.submissions() if not one.job and one.user == user]

    def set_aside(self, jobs: Iterable[SubmittedJob]) -> None:
        """Jobs no longer count. Slurm shows cancelled ones as alive until their processes have ended."""
        numbers: dict[str, set[int]] = {}
        for job in jobs:
            numbers.setdefault(job.submission.token, set()).add(job.number)
        for one in self.submissions() if numbers else ():
            if one.token in numbers:
                self.save(replace(one, cancelled=tuple(sorted(numbers[one.token].union(one.cancelled)))))

    def forget_submissions(self, submissions: Iterable[Submission]) -> None:
        """Remove their records."""
        for submission in submissions:
            (self._submissions / f"{submission.token}.json").unlink(missing_ok=True)

    def forget_finished(self, done: Collection[str]) -> None:
        """Remove the submissions whose runs all have a result: nobody needs their records any more."""
        results = frozenset(done)
        over = [one for one in self.submissions() if results.issuperset(chain(*one.elements))]
        self.forget_submissions(over)

    # what became of each start of a run

    def history(self, run: str) -> History:
        """The starts of a run."""
        try:
            return load_json(self._history_file(run), History, what="record of attempts", hint="remove it")
        except FileNotFoundError:
            return NEVER_STARTED

    def histories(self, runs: Iterable[str]) -> dict[str, History]:
        """The starts of each of these runs; one look at the folder finds those that have any."""
        there = names_in(self._attempts)
        return {run: self.history(run) if f"{run}.json" in there else NEVER_STARTED for run in runs}

    def begin(self, run: str, attempt: Attempt, max_timeouts: int) -> None:
        """Write down that a run starts, unless it has died too often.

        Args:
            run: its id.
            attempt: the start.
            max_timeouts: how often its jobs' time may be up before it has failed.

        Raises:
            UserError: it has died too often: it failed, and why.
        """
        before = self.history(run).judged()
        if reason := before.given_up(attempt.start, max_timeouts):
            self._save_history(run, before)
            raise UserError(reason)
        self._save_history(run, History((*before.attempts, attempt)))

    def note_progress(self, job: str, event: Update) -> None:
        """Write down how far a start has come."""
        reached = {"epoch": event.epoch, "top1": event.top1, "images_per_second": event.images_per_second}
        self._change(event.id, job, ("", "stopped"), **reached)

    def end(self, run: str, job: str, cause: Cause, why: str = "") -> None:
        """Write down how a start ended; of several ends the first counts, as the others follow from it.

        But a job that was asked to stop may still finish a run, or see it fail. A process that dies then dies
        of that. And a run may have failed before it began: where its results cannot be written, nothing is
        trained.
        """
        history = self.history(run)
        if cause == "failed" and not any(one.job == job for one in history.attempts):
            unbegun = Attempt(job=job, node="", gpu="", started=time.time(), start=0, cause=cause, why=why)
            self._save_history(run, History((*history.attempts, unbegun)))
            return
        before: tuple[Cause, ...] = ("", "stopped") if cause in ("done", "failed") else ("",)
        self._change(run, job, before, cause=cause, why=why)

    def forget_attempts(self, runs: Iterable[str]) -> None:
        """Let runs start anew; their checkpoints stay."""
        for run in runs:
            self._history_file(run).unlink(missing_ok=True)

    def _change(self, run: str, job: str, before: Collection[Cause], **what: object) -> None:
        history = self.history(run)
        changed = history.changed(job, before, **what)
        if changed != history:
            self._save_history(run, changed)

    def _save_history(self, run: str, history: History) -> None:
        save_json(self._history_file(run), history)

    def _history_file(self, run: str) -> Path:
        return self._attempts / f"{run}.json"


def _user() -> str:
    """This user's name; in a container that has none for it, the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        return str(os.getuid())
