"""Runs on a Slurm cluster, through submitit. The only file that imports it.

A job holds some runs and is its own supervisor: submitit's process trains nothing, so that it answers a
signal at once, and gives the runs to its worker processes (cluster/node.py). A job that is
to end asks to be requeued; its next life goes on from kdbench's own checkpoints, not from submitit's
pickle.
"""

import re
import shlex
import socket
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import submitit
import submitit.helpers
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from kdbench.cluster.groups import JobArray
from kdbench.cluster.ledger import Submission
from kdbench.cluster.node import JobWork
from kdbench.cluster.profiles import Profile
from kdbench.cluster.scheduler import run_command
from kdbench.errors import UserError

REQUEUES = 1_000_000
"""submitit takes each signal in a job of under 10 minutes for a time-out: kdbench counts for itself."""
HINTS = {
    "submit limit": "wait until jobs are over, or set [work] runs_per_job so that fewer are needed",
    "invalid account": "see `sacctmgr show associations` for the accounts you have",
    "partition": "see `sinfo` for the partitions there are",
    "Invalid job array specification": "set [work] max_array to the cluster's MaxArraySize less one",
    "time limit": "lower [slurm] time",
}
"""Words of sbatch's refusals, and what helps."""


class JobPayload:
    """What submitit pickles: the runs of one job, called once in each of its lives."""

    def __init__(self, work: JobWork) -> None:
        self.work = work

    def __call__(self) -> int:
        """Train all of them; several tasks are the ranks of each run, and the first one hands the runs out.

        Returns:
            How many have a result, in the first task.
        """
        from kdbench.cluster.node import supervise
        from kdbench.run.local import follow_first

        if export_rank() > 0:
            follow_first(self.work.machine)
            return 0
        return supervise(self.work, str(submitit.JobEnvironment().job_id))

    def checkpoint(self) -> DelayedSubmission:
        """What is to be done in the next life: the same, as what is finished is found so."""
        from kdbench.cluster.node import interrupted

        interrupted()
        return DelayedSubmission(self)


def export_rank() -> int:
    """Set torchrun's variables in a task of a job that has several; its rank, 0 where it is the only one."""
    if submitit.JobEnvironment().num_tasks == 1:
        return 0
    found = submitit.helpers.TorchDistributedEnvironment()
    found.master_addr = address_of(found.master_addr)
    found.export(set_cuda_visible_devices=False, overwrite=True)
    return int(found.rank)


def address_of(node: str) -> str:
    """Where a node is found: by its name, or where that is no host's, by the address that Slurm has of it."""
    try:
        socket.getaddrinfo(node, None)
    except OSError:
        shown = run_command("scontrol", "--oneliner", "show", "node", node)
        known = re.search(r"\bNodeAddr=(\S+)", shown)
        return known[1] if known else node
    return node


def sbatch_options() -> list[str]:
    """The options of sbatch that submitit knows."""
    return sorted(submitit.SlurmExecutor._valid_parameters())  # noqa: SLF001 - submitit says them nowhere else


def submit(
    submission: Submission,
    works: Sequence[JobWork],
    profile: Profile,
    group: JobArray,
    dependency: str | None,
) -> str:
    """Submit jobs, one for each part of the work, by one call of sbatch.

    Returns:
        The job's number.

    Raises:
        UserError: sbatch refuses.
    """
    folder = Path(submission.logs)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # whoever may write here decides what our jobs execute
    python = {"slurm_python": profile.node.python} if profile.node.python else {}
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=REQUEUES, **python)
    with warnings.catch_warnings(), redirect_stderr(StringIO()):  # it prints what it raises, too
        warnings.simplefilter("ignore")  # of submitit, about options that a profile may well use
        executor.update_parameters(**parameters(submission, works[0], profile, group, dependency))
        try:
            jobs = executor.submit_array([JobPayload(work) for work in works])
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(refusal(str(error), profile)) from error
    return str(jobs[0].job_id).partition("_")[0]


def parameters(
    submission: Submission, work: JobWork, profile: Profile, group: JobArray, dependency: str | None
) -> dict[str, Any]:
    """What submitit gets to know of the jobs."""
    asked = profile.slurm
    threads = work.machine.local.threads
    tasks = profile.slurm_tasks
    wanted: dict[str, Any] = {
        "name": submission.name,
        "timeout_min": group.minutes,
        "nodes": profile.work.nodes,
        "tasks_per_node": tasks,
        "cpus_per_task": max(1, (asked.cpus or profile.processes * threads) // tasks),
        "mem_gb": group.memory,
        "gpus_per_node": asked.gpus_per_node or None,
        "slurm_partition": asked.partition or None,
        "slurm_account": asked.account or None,
        "slurm_qos": asked.qos or None,
        "slurm_constraint": asked.constraint or None,
        "slurm_gres": asked.gres or None,
        "slurm_comment": submission.token,
        "slurm_signal_delay_s": work.signal,
        "slurm_array_parallelism": profile.work.parallel,
        # when a task dies the others end by themselves, and the first one has the job requeued
        "slurm_srun_args": ["--kill-on-bad-exit=0"] if profile.several_tasks else None,
        "slurm_setup": [*exports(profile), *profile.node.setup] or None,
        "slurm_dependency": dependency,
        **{f"slurm_{key}": value for key, value in profile.sbatch.items()},
    }
    extra = {"requeue": True, **profile.extra}
    if dependency:
        extra["kill-on-invalid-dep"] = "yes"
    return {**wanted, "slurm_additional_parameters": extra}


def exports(profile: Profile) -> list[str]:
    """The profile's variables as lines of a shell."""
    return [f"export {key}={shlex.quote(value)}" for key, value in profile.environment.items()]


def refusal(output: str, profile: Profile) -> str:
    """Why sbatch took nothing, in a sentence, and what helps."""
    lines = [line.strip() for line in output.splitlines() if "sbatch: error:" in line]
    plain = "; ".join(line.partition("sbatch: error:")[2].strip() for line in lines) or output.strip()
    hint = next((f"; {hint}" for word, hint in HINTS.items() if word.lower() in plain.lower()), "")
    return f"profile {profile.name}: sbatch refuses: {plain}{hint}"
