"""Where runs are in the queue: what was submitted, held against what the scheduler says."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from kdbench import submissions
from kdbench.machine import Machine
from kdbench.scheduler import View, look
from kdbench.submissions import Submission


class Place(Struct, frozen=True):
    """Where a run is in the queue."""

    submission: Submission
    number: int

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
            if job is not None and job.alive:
                named = replace(submission, job=submission.job or job.job.partition("_")[0])
                for run in wanted.intersection(ids):
                    found.setdefault(run, Place(named, number))
    return found
