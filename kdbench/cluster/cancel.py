"""`cancel` and `retry`: jobs are ended, and what keeps runs from being trained is taken away."""

from itertools import chain

from msgspec import Struct

from kdbench.cluster.ledger import Ledger
from kdbench.cluster.queue import take_snapshot, try_snapshot
from kdbench.cluster.scheduler import cancel, release
from kdbench.machine import load_machine
from kdbench.plan.selection import Selection, find_work


def cancel_runs(chosen: Selection) -> tuple[list[str], int]:
    """End the jobs that hold runs of a selection.

    Returns:
        The jobs, and how many runs of other suites or rows went with them.

    Raises:
        UserError: the scheduler does not answer, or the jobs are another user's.
    """
    machine = load_machine()
    ledger = Ledger(machine.scratch)
    work = find_work(chosen, machine)
    missing = {run.id for run in work.runs}
    if not ledger.submissions(missing):
        return [], 0
    with ledger.lock():
        jobs = {job.id: job for job in take_snapshot(ledger, missing).under_way(missing).values()}
        cancel(sorted(jobs))
        ledger.set_aside(jobs.values())
    asked = missing | {name for cell in work.cells for name in (*cell.ids, *cell.baselines)}
    others = {name for job in jobs.values() for name in job.runs} - asked
    return sorted(jobs), len(others)


class RetryResult(Struct, frozen=True):
    """What a retry has set free."""

    runs: list[str]
    """They are trained again."""
    released: list[str]
    """Jobs that Slurm held."""
    later: list[str]
    """Runs that have failed in jobs which still train others."""


def retry_runs(chosen: Selection) -> RetryResult:
    """Forget why runs of a selection have no result, and release their jobs where Slurm holds them.

    A run that a living job holds is left to it. Of all others the starts, the stored failures and the jobs
    that ended before they began are forgotten, so that nothing is left to count against a new start.

    Raises:
        UserError: a held job is another user's.
    """
    machine = load_machine()
    ledger = Ledger(machine.scratch)
    work = find_work(chosen, machine)
    failures = work.index.failures
    missing = [run.id for run in work.runs]
    known = try_snapshot(ledger, missing)
    jobs = known.under_way(missing)
    seen = {run: known.view[job.key] for run, job in jobs.items()}
    held = sorted({job.id for run, job in jobs.items() if seen[run].held})
    release(held)
    histories = ledger.histories(missing)
    free = [run for run in missing if run not in jobs]
    dead = known.never_began({run: histories[run] for run in free})
    ledger.set_aside(chain.from_iterable(dead.values()))
    ledger.forget_attempts(free)
    for run in free:
        if run in failures:
            failures[run].unlink(missing_ok=True)
    return RetryResult(
        runs=[run for run in free if histories[run].last or run in dead or run in failures],
        released=held,
        later=[run for run in jobs if histories[run].failed_in(seen[run].job)],
    )
