"""The ledger's submissions held against the scheduler: which jobs live, and which ended before they began."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from kdbench.cluster.ledger import History, Ledger, Submission, SubmittedJob
from kdbench.cluster.scheduler import JobStatus, View, query_jobs
from kdbench.errors import UserError, plain

TAIL = 20
"""Lines of a job's standard error that are looked at, and shown."""


class SchedulerSnapshot(Struct, frozen=True):
    """What the ledger and the scheduler knew of jobs at one moment."""

    submissions: list[Submission]
    """The newest first."""
    view: View
    trouble: str = ""
    """Why the scheduler did not answer."""

    def jobs(self) -> Iterator[tuple[SubmittedJob, JobStatus | None]]:
        """Every job of the submissions, in their order; None: the scheduler forgot it, or did not answer."""
        for submission in self.submissions:
            for job in submission.jobs:
                yield job, self.view.get(job.key)

    def under_way(self, runs: Iterable[str]) -> dict[str, SubmittedJob]:
        """Which of these runs are queued or running, and the newest living job of each."""
        wanted = set(runs)
        found: dict[str, SubmittedJob] = {}
        for job, seen in self.jobs():
            if seen is None or not seen.alive or not job.counts:
                continue
            # a job whose number is not written down yet has it from the scheduler: of 1234_5, 1234
            number = job.submission.job or array_of(seen.job)
            named = replace(job, submission=replace(job.submission, job=number))
            for run in wanted.intersection(job.runs):
                found.setdefault(run, named)
        return found

    def never_began(self, histories: Mapping[str, History]) -> dict[str, list[SubmittedJob]]:
        """By run: its jobs that are over and never began it, the newest first; runs without any are left out.

        kdbench has written nothing of them: Python was not there, the profile's setup failed, or somebody
        ended them before. Nothing where the scheduler does not answer, as a job may still be waiting then.

        Args:
            histories: the starts of the runs that are asked about, read after this snapshot was taken: a job
                that is over in it has written by then what it has begun.
        """
        over: dict[str, list[SubmittedJob]] = {}
        if self.trouble:
            return over
        for job, seen in self.jobs():
            # a job that the scheduler does not know is over: it forgets jobs minutes after their end; one
            # without a number is being submitted at this moment, and nothing is known of it
            alive = seen is not None and seen.alive
            if alive or not job.submission.job or not job.counts:
                continue
            for run in histories.keys() & job.runs:
                # what has begun a run has written that down first: its end is judged by that, not here
                begun = any(attempt.job == job.id for attempt in histories[run].attempts)
                if not begun:
                    over.setdefault(run, []).append(job)
        return over

    def ends(self) -> dict[str, str]:
        """By run: what the scheduler says of the newest of its jobs that it remembers."""
        found: dict[str, str] = {}
        for job, seen in self.jobs():
            if seen is not None:
                for run in job.runs:
                    found.setdefault(run, f"job {seen.job} is {seen.state.lower()}")
        return found


def take_snapshot(ledger: Ledger, runs: Iterable[str]) -> SchedulerSnapshot:
    """What is known of the jobs of these runs: one call of squeue, none where they have no jobs.

    Raises:
        UserError: the scheduler does not answer.
    """
    found = ledger.submissions(runs)
    return SchedulerSnapshot(found, query_jobs(found))


def try_snapshot(ledger: Ledger, runs: Iterable[str]) -> SchedulerSnapshot:
    """The same; a scheduler that does not answer is no error here, but the snapshot's `trouble`."""
    found = ledger.submissions(runs)
    try:
        return SchedulerSnapshot(found, query_jobs(found))
    except UserError as error:
        return SchedulerSnapshot(found, {}, str(error))


def array_of(job: str) -> str:
    """The number of a job, or of the whole array that it belongs to: 1234 of 1234_5."""
    return job.partition("_")[0]


class Death(Struct, frozen=True):
    """What a job that ended before kdbench began left of itself: nothing but its standard error."""

    job: SubmittedJob
    written: tuple[str, ...]
    """The last lines of its standard error, without empty ones; none where it wrote none."""

    @property
    def cancelled(self) -> bool:
        """Whether somebody ended the job while it ran (`scancel`), or Slurm for a more urgent one.

        Slurm has then written the like of `slurmstepd-n1: error:
        *** JOB 870 ON n1 CANCELLED AT 2026-11-28T20:02:18`.
        """
        return any(" CANCELLED AT " in line and "TIME LIMIT" not in line for line in self.written)

    @property
    def cause(self) -> str:
        """The line that says why; "" where nothing was written.

        What the job's own script wrote says it best. Then the daemon that starts tasks, as `slurmstepd-n1:
        error: execve(): python: No such file or directory`. All else of Slurm's is the consequence: `***` and
        an end, or srun's `task 0: Exited with exit code 2`, which comes before the cause or after it.
        """
        own = [line for line in self.written if not line.startswith(("srun:", "slurmstepd"))]
        daemon = [line for line in self.written if line.startswith("slurmstepd") and "***" not in line]
        causes = own or daemon or self.written
        return plain(causes[-1].strip()) if causes else ""

    def __str__(self) -> str:
        """Which job it was, why it ended, and where the rest is."""
        how = "was cancelled" if self.cancelled else "ended"
        why = f": {self.cause} ({self.job.error_file})" if self.cause else ""
        return f"job {self.job.id} {how} before kdbench began{why}"


def read_death(job: SubmittedJob) -> Death:
    """How a job of `never_began` ended."""
    try:
        text = job.error_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Death(job, ())
    lines = [line for line in text.splitlines() if line.strip()]
    return Death(job, tuple(lines[-TAIL:]))
