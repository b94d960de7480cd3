"""`cancel` and `retry`: jobs are ended, and what keeps runs from being trained is taken away."""

from msgspec import Struct
from msgspec.structs import replace

from kdbench.cluster import attempts, submissions
from kdbench.cluster.queue import Place, ask_scheduler, dead_jobs, under_way
from kdbench.cluster.scheduler import cancel, release
from kdbench.machine import Machine, load_machine
from kdbench.plan.selection import Selection, find_work


def cancel_runs(chosen: Selection) -> tuple[list[str], int]:
    """End the jobs that hold runs of a selection.

    Returns:
        The jobs, and how many runs of other suites or rows went with them.

    Raises:
        UserError: the scheduler does not answer, or the jobs are another user's.
    """
    machine = load_machine()
    work = find_work(chosen, machine)
    missing = {run.id for run in work.runs}
    if not submissions.concerning(submissions.load(machine.scratch), missing):
        return [], 0
    with submissions.one_at_a_time(machine.scratch):
        places = {place.key: place for place in under_way(machine, missing).values()}
        jobs = sorted(place.job for place in places.values())
        cancel(jobs)
        _write_down(machine, places)
    asked = missing | {name for cell in work.cells for name in (*cell.ids, *cell.baselines)}
    others = {name for place in places.values() for name in place.runs} - asked
    return jobs, len(others)


def _write_down(machine: Machine, places: dict[tuple[str, int], Place]) -> None:
    """Which jobs no longer count, as Slurm shows them alive until their processes have ended."""
    for one in submissions.load(machine.scratch):
        numbers = [number for token, number in places if token == one.token]
        if numbers:
            submissions.save(machine.scratch, replace(one, cancelled=(*one.cancelled, *numbers)))


class RetryResult(Struct, frozen=True):
    """What a retry has set free."""

    runs: list[str]
    """They are trained again."""
    released: list[str]
    """Jobs that Slurm held."""
    later: list[str]
    """Runs that have failed in jobs which still train others."""


def start_anew(chosen: Selection) -> RetryResult:
    """Forget why runs of a selection have no result, and release their jobs where Slurm holds them.

    Raises:
        UserError: a held job is another user's.
    """
    machine = load_machine()
    work = find_work(chosen, machine)
    missing = [run.id for run in work.runs]
    known = ask_scheduler(machine.scratch, missing)
    view = known.view
    places = under_way(machine, missing, view)
    held = sorted({place.job for place in places.values() if view[place.key].held})
    release(held)
    last = {name: attempts.load(machine.scratch, name).last for name in missing}
    free = [name for name in missing if name not in places]
    dead = dead_jobs(machine.scratch, free, known)
    _write_down(machine, {place.key: place for some in dead.values() for place in some})
    attempts.forget(machine.scratch, free)
    for name in free:
        if name in work.index.failures:
            work.index.failures[name].unlink(missing_ok=True)
    return RetryResult(
        [name for name in free if last[name] or name in dead or name in work.index.failures],
        held,
        [name for name in places if attempts.failed_in(last[name], view[places[name].key].job)],
    )
