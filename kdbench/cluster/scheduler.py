"""What Slurm itself says and does: one question for all jobs at once. Its commands, nothing of submitit."""

import shutil
import subprocess
from collections.abc import Iterable, Sequence

from msgspec import Struct

from kdbench.cluster.ledger import Submission
from kdbench.errors import UserError

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
COMMAND_TIMEOUT_S = 60
"""Seconds that one of Slurm's commands may take."""
QUESTION_INTERVAL_S = 10.0
"""Seconds between two questions of a command that follows jobs, whatever their number."""
OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States of jobs that will not go on."""
_FORMAT = "%i|%k|%T|%S|%N|%r"


class JobStatus(Struct, frozen=True, kw_only=True):
    """A job as squeue shows it."""

    job: str
    """`1234`, or `1234_5` in an array."""
    state: str
    reason: str
    start: str
    """When it began or is thought to begin; N/A if nobody knows."""
    node: str

    @property
    def alive(self) -> bool:
        """Whether it runs or will."""
        return self.state not in OVER

    @property
    def held(self) -> bool:
        """Whether Slurm itself keeps it from running: its launch failed on a node, or it was requeued so."""
        return self.state == "PENDING" and "requeued" in self.reason and "held" in self.reason


View = dict[tuple[str, int], JobStatus]
"""Jobs by their submission's token and their number in it (`SubmittedJob.key`)."""


def check_commands() -> None:
    """Find out before anything is written.

    Raises:
        UserError: Slurm's commands are not there.
    """
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"no {', '.join(missing)} on PATH: --on slurm needs a machine from which jobs are submitted; "
            f"`slurm/dev-cluster.sh up` makes one of this machine"
        )


def query_jobs(submissions: Iterable[Submission]) -> View:
    """How the jobs of these submissions stand, as far as the controller still knows them: one call.

    squeue prints `1234_5|TOKEN|PENDING|N/A||Priority` of the sixth job of an array. The token, which is the
    job's comment, says which submission it is of: so a job is found whose number was never written down, too.

    Raises:
        UserError: the controller does not answer.
    """
    wanted = {one.token: one for one in submissions}
    if not wanted:
        return {}
    names = ",".join(sorted({one.name for one in wanted.values()}))
    lines = run_command(
        "squeue", "--noheader", "--array", "--states=all", f"--name={names}", f"--format={_FORMAT}"
    )
    view = {}
    for line in lines.splitlines():
        job, token, state, start, node, reason = line.strip().split("|", 5)
        if token in wanted:
            number = int(job.partition("_")[2] or 0)
            view[token, number] = JobStatus(job=job, state=state, reason=reason, start=start, node=node)
    return view


def cancel(jobs: Sequence[str]) -> None:
    """End jobs, waiting or running.

    Raises:
        UserError: the controller does not answer, or the jobs are another user's.
    """
    for first in range(0, len(jobs), 500):  # a command line has an end
        run_command("scancel", *jobs[first : first + 500])


def release(jobs: Iterable[str]) -> None:
    """Let held jobs go on.

    Raises:
        UserError: the controller does not answer, or the jobs are another user's.
    """
    for job in jobs:
        run_command("scontrol", "release", job)


def run_command(command: str, *arguments: str, seconds: int = COMMAND_TIMEOUT_S) -> str:
    """The output of one of Slurm's commands.

    Raises:
        UserError: it is not there, failed or does not answer.
    """
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            [command, *arguments], capture_output=True, text=True, timeout=seconds, check=True
        )
    except FileNotFoundError as error:
        raise UserError(f"no {command} on PATH: this machine does not see a Slurm cluster") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command} has not answered for {seconds} s; is the Slurm controller up?") from error
    except subprocess.CalledProcessError as error:
        output = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        raise UserError(f"{command}: {output}") from error
    return done.stdout
