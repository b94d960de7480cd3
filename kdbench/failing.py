"""What is kept of a run that failed: a line in the results, and the whole of it in its log."""

from contextlib import suppress
from pathlib import Path

from kdbench.errors import UserError
from kdbench.logbook import log
from kdbench.machine import Machine
from kdbench.spec import Failure, Run
from kdbench.store import save_failure


def keep_failure(run: Run, machine: Machine, cause: str, whole: str) -> Failure:
    """Keep why a run has no result, as far as anything can be written.

    Args:
        run: the run.
        machine: where results and logs lie.
        cause: what went wrong, in a line.
        whole: all that is known of it, for the log.
    """
    trace = log(machine, run, "log", whole, anew=True)
    line = f"{' '.join(cause.split()):.500}" + ("" if trace else " (its log could be written nowhere)")
    failure = Failure(id=run.id, run=run, cause=line, log=_shown(trace) if trace else "")
    with suppress(UserError):
        save_failure(machine.results, failure)
    return failure


def _shown(path: Path) -> str:
    """A path as a person at this machine would write it: from the current folder where it lies inside."""
    inside = path.resolve().is_relative_to(Path.cwd())
    return str(path.resolve().relative_to(Path.cwd()) if inside else path)
