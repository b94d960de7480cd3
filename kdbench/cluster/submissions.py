"""Who has submitted what: SCRATCH/slurm/submissions/TOKEN.json, one per call of sbatch.

It is written before sbatch is called, and the job carries the token as its comment: a driver that dies in
between leaves nothing that the next one could not find again.
"""

import getpass
import time
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path
from secrets import token_hex

from filelock import FileLock
from msgspec import Struct

from kdbench.store.json_files import load_folder, save_json


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

    def element(self, number: int) -> str:
        """A job of it as squeue prints it."""
        return f"{self.job}_{number}" if len(self.elements) > 1 else self.job

    def error_file(self, number: int) -> Path:
        """Where submitit keeps what a job of it, and its shell, wrote to standard error."""
        return Path(self.logs, f"{self.element(number)}_0_log.err")


def new(name: str, profile: str, elements: Sequence[Sequence[str]], logs: Path) -> Submission:
    """A submission that is about to be made."""
    return Submission(
        token=token_hex(8),
        name=name,
        profile=profile,
        user=getpass.getuser(),
        at=time.time(),
        elements=tuple(map(tuple, elements)),
        logs=str(logs),
    )


def one_at_a_time(scratch: Path) -> FileLock:
    """Held by who submits, from looking at what is missing until it is submitted."""
    lock = scratch / "slurm" / "submit.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def save(scratch: Path, submission: Submission) -> None:
    """Write a submission down, or again with what is known now."""
    save_json(_folder(scratch) / f"{submission.token}.json", submission)


def load(scratch: Path) -> list[Submission]:
    """All submissions that are remembered, the newest first.

    Raises:
        UserError: a file is broken.
    """
    found = load_folder(_folder(scratch), Submission, what="record of a submission", hint="remove it")
    return sorted(found.values(), key=lambda submission: -submission.at)


def forget(scratch: Path, submissions: Iterable[Submission]) -> None:
    """Remove the records of submissions."""
    for submission in submissions:
        (_folder(scratch) / f"{submission.token}.json").unlink(missing_ok=True)


def concerning(submissions: Iterable[Submission], runs: Iterable[str]) -> list[Submission]:
    """Those that hold any of these runs."""
    wanted = set(runs)
    return [one for one in submissions if not wanted.isdisjoint(chain(*one.elements))]


def finished(scratch: Path, done: Collection[str]) -> list[Submission]:
    """Those whose runs all have a result: nobody needs their records any more."""
    results = frozenset(done)
    return [one for one in load(scratch) if results.issuperset(chain(*one.elements))]


def _folder(scratch: Path) -> Path:
    return scratch / "slurm" / "submissions"
