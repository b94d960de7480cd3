"""Training by hand: `kdbench.train`."""

from collections.abc import Callable, Collection

from kdbench.errors import UserError
from kdbench.machine import load_machine
from kdbench.spec.results import Result
from kdbench.spec.runs import Run
from kdbench.store.records import save_result
from kdbench.training import checkpoint
from kdbench.training.checkpoint import Progress
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.run import train as train_run


def train(
    run: Run,
    context: TrainingContext | None = None,
    *,
    keep: Collection[int | str] = (),
    save: bool = True,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Train one run in this process, on the machine that benchmark.toml describes.

    Its teacher, if it has one, must have been trained before: go through `make_plan`'s runs in order.

    Args:
        run: what to train, from `make_plan`.
        context: this process's hold on its machine; opened for each run if not given.
        keep: epochs whose weights others learn from, from `weights_needed`; the last's and the best's are
            kept in any case.
        save: keep the result in the results folder, as `kdbench run` does.
        watch: called after each epoch with the progress so far.

    Raises:
        UserError: another process trains it, the data or the teacher's weights are missing or damaged, or
            results cannot be written.
        DivergedError: the loss became NaN or infinite.
    """
    context = context or open_context(load_machine())
    lease = context.take(run)
    if lease is None:
        raise UserError(f"{run.slug} seed {run.seed} (run {run.id}): another process trains it now")
    with lease:
        result = train_run(run, context, keep=keep, watch=watch)
        if save:
            context.write(run, lambda: save_result(context.machine.results, result))
        checkpoint.forget(context.machine.scratch / "checkpoints" / run.id)
    return result
