"""Training from Python: `kdbench.train` and `train_all`. What is stored is used, not trained again."""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path

import click
import msgspec

from kdbench.errors import UserError, each_of, require, require_all
from kdbench.formatting import plural
from kdbench.machine import load_machine
from kdbench.plan.expand import weights_needed
from kdbench.plan.selection import find_missing
from kdbench.run.progress import Lines
from kdbench.run.stored import StoredResult, stored
from kdbench.spec.events import Done
from kdbench.spec.runs import Run
from kdbench.spec.suites import Cell
from kdbench.store.records import index, load_result, load_results, save_result
from kdbench.store.weights import checkpoints_of, weights_there
from kdbench.training import checkpoint
from kdbench.training.checkpoint import Progress
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.run import train as train_run
from kdbench.training.task import update


def train(
    run: Run,
    context: TrainingContext | None = None,
    *,
    keep: Collection[int | str] = (),
    save: bool = True,
    rerun: bool = False,
    trial: bool = False,
    watch: Callable[[Progress], None] | None = None,
) -> StoredResult:
    """Give the result of one run: the stored one, else train it in this process.

    Its teacher, if it has one, must have been trained before: `train_all` does that too.

    Args:
        run: what to train, from `make_plan`.
        context: this process's hold on its machine; opened for each run if not given.
        keep: epochs whose weights others learn from, from `weights_needed`; the last's and the best's are
            kept in any case.
        save: keep the result in the results folder, as `kdbench run` does.
        rerun: train it although it has a result, which stays; this one is kept beside it.
        trial: keep the result in results/trials, as `kdbench run --set` does.
        watch: called after each epoch with the progress so far; left out, lines on standard error show it.

    Raises:
        UserError: another process trains it, the data or the teacher's weights are missing or damaged,
            results cannot be written, or the run is none that a record can hold.
        DivergedError: the loss became NaN or infinite.
    """
    require("run", run, Run, "a run from kdbench.make_plan")
    require("context", context, (TrainingContext, type(None)), "what open_context gives")
    check_storable([run])
    machine = context.machine if context else load_machine()
    path = index(machine.results).results.get(run.id)
    if path is not None and not rerun and weights_there(machine.scratch, run.id, keep):
        click.echo(f"{run.slug} seed {run.seed}: stored, not trained again", err=True)
        return stored(load_result(path, run))
    return _train(
        run, context or open_context(machine), keep, Lines({run.id: run}), watch, save=save, trial=trial
    )


def train_all(cells: Iterable[Cell], *, rerun: bool = False) -> dict[str, StoredResult]:
    """Give the results of rows and of the baselines that they are held against, training what is missing.

    Teachers are trained first, one run after the other, in this process; `kdbench run` trains several at a
    time. Lines on standard error show how far it is. Runs that settings make others than the suite's are kept
    in results/trials.

    Args:
        cells: rows with their runs, from `expand`.
        rerun: train the rows' runs although they have results, which stay.

    Returns:
        The results by run id, as `check_suite` takes them.

    Raises:
        UserError, DivergedError: as `train`; what was trained before is stored.
    """
    rows = require_all("cells", cells, Cell, "rows from kdbench.expand")
    check_storable(run for cell in rows for run in cell.runs)
    machine = load_machine()
    asked = {name for cell in rows for name in cell.ids}
    there = set(index(machine.results).results)
    runs = find_missing(rows, there - asked if rerun else set(there), machine)
    click.echo(f"{plural(len(asked & there), 'run')} stored, {len(runs)} to train", err=True)
    if runs:
        context, lines = open_context(machine), Lines({run.id: run for run in runs})
        trials = frozenset[str]().union(*(cell.trials for cell in rows))
        keep = weights_needed(run for cell in rows for run in cell.runs)
        for run in runs:
            _train(run, context, keep.get(run.id, ()), lines, None, save=True, trial=run.id in trials)
    needed = asked | {name for cell in rows for name in cell.baselines}
    found = load_results(index(machine.results), sorted(needed))
    return {name: stored(result) for name, result in found.items()}


def check_storable(runs: Iterable[Run]) -> None:
    """Refuse runs whose results could not be read again: values put into them by hand are not checked.

    Raises:
        UserError: one sentence for each.
    """

    def check(run: Run) -> None:
        try:
            msgspec.json.decode(msgspec.json.encode(run), type=Run)
        except (msgspec.MsgspecError, TypeError) as error:
            raise UserError(f"{run.slug} seed {run.seed!r}: no record can hold this run: {error}") from error

    each_of(check, runs)


def _train(
    run: Run,
    context: TrainingContext,
    keep: Collection[int | str],
    lines: Lines,
    watch: Callable[[Progress], None] | None,
    *,
    save: bool,
    trial: bool,
) -> StoredResult:
    """Train one run in this process, under its lease, and store it where `save` asks for it."""
    with context.leases.hold(run.id) as held:
        if not held:
            raise UserError(f"{run.slug} seed {run.seed} (run {run.id}): another process trains it now")
        watching = watch or (lambda progress: lines.show(update(run, progress)))
        result = train_run(run, context, keep=keep, watch=watching)
        path = Path()
        if save:
            keep_it = partial(save_result, context.machine.results, result, trial=trial)
            path = context.leases.write(run.id, keep_it)
        checkpoint.forget(checkpoints_of(context.machine.scratch, run.id))
    if watch is None:
        lines.show(Done(run.id, result, str(path), trained=True))
    return stored(result)
