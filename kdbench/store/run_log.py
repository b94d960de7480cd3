"""What is written of a run while it trains: in a folder `logs` beside its result, which git leaves alone.

results/DATASET/logs/SLUG.sSEED.ID.jobs.log is what jobs on a cluster say of it, a line per epoch;
results/DATASET/logs/SLUG.sSEED.ID.log is the traceback of its latest failure. Those of trials lie in
results/trials/DATASET/logs.
"""

from contextlib import suppress
from pathlib import Path
from typing import Literal

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from kdbench.store.files import shown
from kdbench.store.records import TRIALS, save_failure

Kind = Literal["jobs.log", "log"]


def log_files(machine: Machine, run: Run, kind: Kind, *, trial: bool = False) -> tuple[Path, Path]:
    """Where a run's log is looked for: beside its result, and in scratch where results cannot be written."""
    name = f"{run.slug}.s{run.seed}.{run.id}.{kind}"
    results = machine.results / TRIALS if trial else machine.results
    return results / run.dataset / "logs" / name, machine.scratch / "logs" / name


def log(
    machine: Machine, run: Run, kind: Kind, text: str, *, anew: bool = False, trial: bool = False
) -> Path | None:
    """Add to a run's log, or start it `anew`. One that can be written nowhere costs no training.

    Returns:
        Where it was written, if it was.
    """
    beside, elsewhere = log_files(machine, run, kind, trial=trial)
    for path in (beside, elsewhere):
        with suppress(OSError):
            _make(path.parent)
            with path.open("w" if anew else "a", encoding="utf-8") as file:
                file.write(text)
            return path
    return None


def _make(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def keep_failure(run: Run, machine: Machine, cause: str, whole: str, *, trial: bool) -> Failure:
    """Keep why a run has no result, and whose code it is of, as far as anything can be written.

    Args:
        run: the run.
        machine: where results and logs lie.
        cause: what went wrong, in a line.
        whole: all that is known of it, for the log.
        trial: keep both apart, where its result would lie.
    """
    trace = log(machine, run, "log", whole, anew=True, trial=trial)
    line = f"{' '.join(cause.split()):.500}" + ("" if trace else " (its log could be written nowhere)")
    failure = Failure(id=run.id, run=run, cause=with_packages(line, run), log=shown(trace) if trace else "")
    with suppress(UserError):
        save_failure(machine.results, failure, trial=trial)
    return failure


def with_packages(cause: str, run: Run) -> str:
    """`RuntimeError: ... (with code of wkd 0.1.0)`: a cause, with the packages behind a run that it lacks."""
    packages = sorted(set(map(str, run.all_plugins)))
    others = [package for package in packages if package not in cause]
    return f"{cause} (with code of {', '.join(others)})" if others else cause
