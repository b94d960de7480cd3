"""What the commands do on a cluster: a few lines each over the functions that do the work."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kdbench.errors import UserError
from kdbench.formatting import plural
from kdbench.machine import load_machine
from kdbench.plan.selection import Selection, describe_work, find_work
from kdbench.run.progress import follow, viewer
from kdbench.run.status import State
from kdbench.spec.results import Failure

if TYPE_CHECKING:
    from kdbench.cluster.submit import Submitted
    from kdbench.run.local import Trained


def profile_of(on: str) -> str:
    """The profile of `slurm:NAME`; "" of `slurm`.

    Raises:
        UserError: it is neither.
    """
    where, colon, name = on.partition(":")
    if where != "slurm" or (colon and not name):
        raise UserError(f"--on {on!r}: write local, slurm or slurm:PROFILE")
    return name


def train(chosen: Selection, profile: str, *, wait: bool, offline: bool) -> "Trained":
    """Submit what is missing; with `wait`, follow it to its end.

    Runs that have died too often to be submitted count as failed.

    Raises:
        UserError: nothing could be submitted, or not all of it.
    """
    from kdbench.cluster.submit import submit_missing
    from kdbench.cluster.wait import events
    from kdbench.run.local import Trained

    submitted = submit_missing(chosen, profile, offline=offline)
    click.echo("\n".join(describe_submitted(submitted)), err=True)
    runs = {run.id: run for run in submitted.work.runs}
    failed: dict[str, Failure | None] = {}
    for of, reason in submitted.given_up.items():
        failed[of] = Failure(id=of, run=runs[of], cause=reason, log="")
    if wait and submitted.work.runs:
        with viewer(submitted.work.runs) as view:
            failed |= follow(events(submitted), view)
    return Trained(over=wait, failed=failed, machine=submitted.machine)


def describe_submitted(submitted: "Submitted") -> Iterator[str]:
    """What was submitted, and what was not."""
    yield describe_work(submitted.work)
    for one in submitted.made:
        runs, jobs = plural(sum(map(len, one.elements)), "run"), plural(len(one.elements), "job")
        yield f"submitted as job {one.job}: {one.name}, {runs} in {jobs}"
    if submitted.under_way:
        yield f"{plural(len(submitted.under_way), 'run')} queued or running already"
    for run, reason in submitted.given_up.items():
        yield f"run {run} is not submitted: {reason}"


def states(chosen: Selection) -> tuple[list[State], str]:
    """The state of each run of a selection, and why the scheduler did not answer."""
    from kdbench.cluster.status import states_of

    machine = load_machine()
    return states_of(find_work(chosen, machine), machine)


def cancel(chosen: Selection) -> str:
    """End the jobs of a selection, and say so."""
    from kdbench.cluster.cancel import cancel_runs

    jobs, others = cancel_runs(chosen)
    if not jobs:
        return "nothing is queued or running"
    more = f"; they held {plural(others, 'run')} of other suites or rows too" if others else ""
    return f"cancelled {plural(len(jobs), 'job')}: {', '.join(jobs)}{more}"


def retry(chosen: Selection) -> str:
    """Let failed runs and held jobs of a selection start anew, and say which."""
    from kdbench.cluster.cancel import retry_runs

    found = retry_runs(chosen)
    named = f": {', '.join(found.runs)}" if found.runs else ""
    parts = [f"{plural(len(found.runs), 'run')} to start anew{named}"]
    if found.released:
        parts.append(f"released {', '.join(found.released)}, which Slurm held")
    if found.later:
        parts.append(f"{len(found.later)} failed in jobs that still run: retry them after")
    return "; ".join(parts)
