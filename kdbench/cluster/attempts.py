"""What became of each start of a run on a cluster: SCRATCH/attempts/ID.json, one line of life per start.

A job may end without a word (its node died, its process was killed). So a start is written down before
anything is trained, its end when it is known, and the next start judges the one before it.
"""

import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.spec.events import Update
from kdbench.store.files import names_in
from kdbench.store.json_files import load_json, save_json

CRASHES = 2
"""How often a run is started again after its process died."""
DEATHS = 3
"""Deaths at one epoch, of whatever cause but the scheduler's, after which a run has failed."""
Cause = Literal["", "done", "failed", "stopped", "time", "crash", "lost"]
"""`stopped`: preempted, requeued or cancelled. `time`: its job's time was up. `crash`: its process died.
`lost`: nobody saw its end. "": it is under way, or lost and not yet judged."""
DEADLY: tuple[Cause, ...] = ("time", "crash", "lost")


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


class Record(Struct, frozen=True):
    """All starts of a run, in order."""

    attempts: tuple[Attempt, ...] = ()

    @property
    def last(self) -> Attempt | None:
        """The latest start."""
        return self.attempts[-1] if self.attempts else None

    def count(self, *causes: Cause, start: int | None = None) -> int:
        """How many starts ended so (from this epoch)."""
        return sum(one.cause in causes and start in (None, one.start) for one in self.attempts)


def load_all(scratch: Path, runs: Iterable[str]) -> dict[str, Record]:
    """The records of those of these runs that were ever started on a cluster.

    Raises:
        UserError: a file is broken.
    """
    there = names_in(_path(scratch, "").parent)
    return {run: load(scratch, run) for run in runs if f"{run}.json" in there}


def load(scratch: Path, run: str) -> Record:
    """A run's record; empty where it was never started on a cluster.

    Raises:
        UserError: the file is broken.
    """
    try:
        return load_json(_path(scratch, run), Record, what="record of attempts", hint="remove it")
    except FileNotFoundError:
        return Record()


def begin(scratch: Path, run: str, attempt: Attempt, times: int) -> None:
    """Write down that a run starts, unless it has died too often.

    Args:
        scratch: where records lie.
        run: its id.
        attempt: the start.
        times: how often its jobs' time may be up before it ends.

    Raises:
        UserError: it has died too often: it failed, and why.
    """
    record = judged(load(scratch, run))
    if reason := given_up(record, attempt.start, times):
        save_json(_path(scratch, run), record)
        raise UserError(reason)
    save_json(_path(scratch, run), Record((*record.attempts, attempt)))


def judged(record: Record) -> Record:
    """With the starts whose end nobody saw named as such."""
    return Record(tuple(replace(one, cause=one.cause or "lost") for one in record.attempts))


def given_up(record: Record, start: int, times: int | None = None) -> str:
    """Why a run whose checkpoint is of this epoch is not started again; "" if it may be."""
    hint = "; `kdbench retry` starts it anew"
    last = next((one.why for one in reversed(record.attempts) if one.why), "")
    why = f" ({last})" if last else ""
    if record.count("crash") > CRASHES:
        return f"its process died {record.count('crash')} times, last after epoch {start}{why}{hint}"
    if record.count(*DEADLY, start=start) >= DEATHS:
        return f"it died {DEATHS} times after epoch {start}, and would again{why}{hint}"
    if times is not None and record.count("time") > times:
        return (
            f"its jobs' time was up {record.count('time')} times, epoch {start} is reached: give the profile "
            f"a longer [slurm] time{hint}"
        )
    return ""


def failed_in(last: Attempt | None, job: str) -> bool:
    """Whether a run's latest start was in this job, and failed."""
    return last is not None and last.job == job and last.cause == "failed"


def note(scratch: Path, job: str, event: Update) -> None:
    """Write down how far a start has come."""
    reached = {"epoch": event.epoch, "top1": event.top1, "images_per_second": event.images_per_second}
    _change(scratch, event.id, job, ("", "stopped"), **reached)


def end(scratch: Path, run: str, job: str, cause: Cause, why: str = "") -> None:
    """Write down how a start ended; what comes after the scheduler's word is only its consequence.

    A run may have failed before it began: where its results cannot be written, nothing is trained.
    """
    record = load(scratch, run)
    if cause == "failed" and not any(one.job == job for one in record.attempts):
        unbegun = Attempt(job=job, node="", gpu="", started=time.time(), start=0, cause=cause, why=why)
        save_json(_path(scratch, run), Record((*record.attempts, unbegun)))
        return
    # a job that was told to stop may still finish a run, or see it fail; a process that dies then dies of
    # that
    before: tuple[Cause, ...] = ("", "stopped") if cause in ("done", "failed") else ("",)
    _change(scratch, run, job, before, cause=cause, why=why)


def forget(scratch: Path, runs: Iterable[str]) -> None:
    """Let runs start anew; their checkpoints stay."""
    for run in runs:
        _path(scratch, run).unlink(missing_ok=True)


def _change(scratch: Path, run: str, job: str, when: Collection[Cause], **what: object) -> None:
    """The latest start by this job changes, if its cause is one of these."""
    attempts = list(load(scratch, run).attempts)
    mine = [number for number, one in enumerate(attempts) if one.job == job]
    if mine and attempts[mine[-1]].cause in when:
        attempts[mine[-1]] = replace(attempts[mine[-1]], **what)
        save_json(_path(scratch, run), Record(tuple(attempts)))


def _path(scratch: Path, run: str) -> Path:
    return scratch / "attempts" / f"{run}.json"
