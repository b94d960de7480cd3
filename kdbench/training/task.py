"""A cohort inside a worker process: train it, keep each run's result, or say why there is none."""

import gc
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial

import torch

from kdbench import catalog
from kdbench.errors import DiedError, DivergedError, UserError, is_out_of_memory
from kdbench.grouping import halves
from kdbench.machine import Machine
from kdbench.spec.events import Cohort, Done, Elsewhere, Event, Failed, Task, Update
from kdbench.spec.results import Failure, Result
from kdbench.spec.runs import Run
from kdbench.store.lease import LostError
from kdbench.store.mounts import GoneError
from kdbench.store.records import find_result, load_result, save_result
from kdbench.store.run_log import keep_failure
from kdbench.store.weights import checkpoints_of, weights_there
from kdbench.training import checkpoint
from kdbench.training.checkpoint import Progress
from kdbench.training.context import TrainingContext
from kdbench.training.run import train_cohort
from kdbench.training.sizing import fitting

Emit = Callable[[Event], None]


def do(
    tasks: Sequence[Task],
    context: TrainingContext,
    emit: Emit,
    starts: Callable[[Run], None] = lambda _: None,
) -> None:
    """Train runs beside each other, as many at a time as memory holds; nothing raises but an interrupt.

    A run that another process trains is left to it: `Elsewhere`, and who hands out runs asks again later.
    Of several ranks the first one calls this, and the others `follow`; they train one run at a time.

    Args:
        tasks: what to train; all of one cohort (`kdbench.plan.cohorts.make_cohorts`).
        context: this process's hold on its machine.
        emit: called with each event; with exactly one end for each task.
        starts: called when a run's training is about to begin; what it raises is the run's failure.

    Raises:
        Exception: a rank has failed alone, and the group is not whole any more.
    """
    alone = context.group.size == 1
    for part in fitting(tasks, context) if alone else [(task,) for task in tasks]:
        for some in _take(part, context, emit, starts):
            do(some, context, emit, starts)


def _take(
    tasks: Sequence[Task], context: TrainingContext, emit: Emit, starts: Callable[[Run], None]
) -> list[Cohort]:
    """Train those that no other process trains; returns what is left after that, in parts."""
    ready: list[Task] = []
    with ExitStack() as leases:
        for task in tasks:
            try:
                if not leases.enter_context(context.leases.hold(task.run.id)):
                    emit(Elsewhere(task.run.id))
                    continue
                done = _done_elsewhere(task, context)
                if done is None:
                    starts(task.run)
                    ready.append(task)
                else:
                    emit(done)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's failure and no other's
                emit(end(task, context.machine, error))
        return _train(ready, context, emit)


def _done_elsewhere(task: Task, context: TrainingContext) -> Done | None:
    path = find_result(context.machine.results, task.run)
    if task.rerun or path is None or not weights_there(context.machine.scratch, task.run.id, task.keep):
        return None
    return Done(task.run.id, load_result(path), str(path), trained=False)


def update(run: Run, progress: Progress) -> Update:
    """What there is to say of a run after an epoch."""
    images = run.recipe.seen(catalog.find("datasets", run.dataset).train)
    speed = images * progress.epoch / max(progress.training_seconds, 1e-9)
    return Update(run.id, progress.epoch, progress.top1[-1], speed)


def _train(tasks: Sequence[Task], context: TrainingContext, emit: Emit) -> list[Cohort]:
    """Train a cohort; the halves of what is left of it, should memory run out.

    Of runs A to E of which A has ended when memory runs out, that is [B, C] and [D, E], to be trained one
    after the other. A single run that does not fit fails; so do all of them where the error is another one.
    """
    left = {task.run.id: task for task in tasks}
    if not left:
        return []
    context.group.broadcast_object(tasks)
    training = train_cohort(tasks, context, lambda run, progress: emit(update(run, progress)))
    try:
        with closing(training):  # at once, whatever stops it: the runs are held until all is written
            for task, given in training:
                del left[task.run.id]
                if isinstance(given, Exception):
                    emit(end(task, context.machine, given))
                    continue
                emit(_keep(task, context, given))
    except Exception as error:
        if not context.group.is_whole(error):
            raise
        if len(left) == 1 or not is_out_of_memory(error):
            refuse(left.values(), context.machine, error, emit)
            left.clear()
    if not left:
        return []
    gc.collect()
    if context.device.type == "cuda":
        torch.cuda.empty_cache()
    return halves(tuple(left.values()))


def follow(context: TrainingContext) -> None:
    """What a further rank does: it trains with the first one, which broadcasts what, until that has ended."""
    try:
        while True:
            tasks: Sequence[Task] = context.group.broadcast_object(())
            try:
                for _ in train_cohort(tasks, context):
                    pass  # how a run ends is for the first rank to write
            except Exception as error:
                if not context.group.is_whole(error):
                    raise
    except DiedError:
        return  # the others have left; the first one says why
    except Exception as error:  # noqa: BLE001 - whatever it is, the first rank reports it
        context.group.leave(error)


def _keep(task: Task, context: TrainingContext, result: Result) -> Done | Failed | Elsewhere:
    try:
        save = partial(save_result, context.machine.results, result, trial=task.trial)
        path = context.leases.write(task.run.id, save)
        checkpoint.forget(checkpoints_of(context.machine.scratch, task.run.id))
    except Exception as error:  # noqa: BLE001 - as above
        return end(task, context.machine, error)
    return Done(task.run.id, result, str(path), trained=True)


def refuse(tasks: Iterable[Task], machine: Machine, error: Exception, emit: Emit) -> None:
    """Emit for each of these runs why it cannot be trained here."""
    for task in tasks:
        emit(end(task, machine, error))


def end(task: Task, machine: Machine, error: Exception) -> Failed | Elsewhere:
    """What an exception means for its run: it failed, or another process has it."""
    if isinstance(error, LostError):
        return Elsewhere(task.run.id)
    if isinstance(error, GoneError):
        return Failed(task.run.id, Failure(id=task.run.id, run=task.run, cause=str(error), log=""))
    expected = isinstance(error, UserError | DivergedError)
    cause = str(error) if expected else f"{type(error).__name__}: {error}"
    whole = "".join(traceback.format_exception(error))
    return Failed(task.run.id, keep_failure(task.run, machine, cause, whole, trial=task.trial))
