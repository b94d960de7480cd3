"""Where runs are in the queue: what was submitted, held against what the scheduler says."""

import time
from collections.abc import Iterable
from getpass import getuser
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from kdbench.cluster import submissions
from kdbench.cluster.scheduler import View, cancel, look
from kdbench.cluster.submissions import Submission
from kdbench.machine import Machine

SETTLED = 60
"""Seconds after which sbatch, whose caller was killed, has done what it will do."""
LOOK = 2.0
"""Seconds between two questions whether it has."""


class Place(Struct, frozen=True):
    """Where a run is in the queue."""

    submission: Submission
    number: int

    @property
    def key(self) -> tuple[str, int]:
        """As a View knows it."""
        return self.submission.token, self.number

    @property
    def job(self) -> str:
        """As squeue prints it."""
        return self.submission.element(self.number)


def under_way(machine: Machine, runs: Iterable[str], view: View | None = None) -> dict[str, Place]:
    """Which of these runs are queued or running, and where.

    Raises:
        UserError: the scheduler does not answer.
    """
    wanted = set(runs)
    known = submissions.concerning(submissions.load(machine.scratch), wanted)
    seen = look(known) if view is None else view
    found: dict[str, Place] = {}
    for submission in known:
        for number, ids in enumerate(submission.elements):
            job = seen.get((submission.token, number))
            if job is not None and job.alive and number not in submission.cancelled:
                named = replace(submission, job=submission.job or job.job.partition("_")[0])
                for run in wanted.intersection(ids):
                    found.setdefault(run, Place(named, number))
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
        cancel(sorted({seen.job.partition("_")[0] for seen in view.values() if seen.alive}))
        appeared = {token for token, _ in view}
        over = [one for one in broken if one.token in appeared or time.time() - one.at > SETTLED]
        submissions.forget(scratch, over)
        broken = [one for one in broken if one not in over]
        if broken:
            time.sleep(LOOK)
