"""A cohort inside a worker process: train it, keep each run's result, or say why there is none."""

import gc
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack

import torch

from kdbench.errors import DiedError, DivergedError, UserError
from kdbench.machine import Machine
from kdbench.spec.events import Died, Done, Elsewhere, Event, Failed, Job, Update
from kdbench.spec.results import Failure, Result
from kdbench.spec.runs import Run
from kdbench.store.lease import LostError
from kdbench.store.mounts import GoneError
from kdbench.store.records import index, load_result, save_result, weights_there
from kdbench.store.run_log import keep_failure
from kdbench.training import checkpoint
from kdbench.training.checkpoint import Progress
from kdbench.training.context import TrainingContext
from kdbench.training.memory import is_short
from kdbench.training.run import Watch, train_cohort
from kdbench.training.sizing import fitting

Tell = Callable[[Event], None]


def do(
    jobs: Sequence[Job], context: TrainingContext, emit: Tell, starts: Callable[[Run], None] = lambda _: None
) -> None:
    """Train runs beside each other, as many at a time as memory holds; nothing raises but an interrupt.

    A run that another process trains is left to it: `Elsewhere`, and who hands out runs asks again later.

    Args:
        jobs: what to train; all of one cohort (`kdbench.plan.cohorts.lessons`).
        context: this process's hold on its machine.
        emit: called with each event; with exactly one end for each job.
        starts: called when a run's training is about to begin; what it raises is the run's failure.
    """
    together = fitting(jobs, context) if context.processes == 1 else [(job,) for job in jobs]
    for part in together:
        for some in _take(part, context, emit, starts):
            do(some, context, emit, starts)


def _take(
    jobs: Sequence[Job], context: TrainingContext, emit: Tell, starts: Callable[[Run], None]
) -> list[Sequence[Job]]:
    """Train those that nobody else trains; what is left to be done after that, in parts."""
    ready: list[Job] = []
    with ExitStack() as leases:
        for job in jobs:
            try:
                lease = context.take(job.run)
                if lease is None:
                    emit(Elsewhere(job.run.id))
                    continue
                leases.enter_context(lease)
                leases.callback(context.leases.pop, job.run.id)
                done = _done_elsewhere(job, context)
                if done is None:
                    starts(job.run)
                    ready.append(job)
                else:
                    emit(done)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's failure and no other's
                emit(end(job, context.machine, error))
        return _train(ready, context, emit)


def _done_elsewhere(job: Job, context: TrainingContext) -> Done | None:
    path = index(context.machine.results).results.get(job.run.id)
    if job.rerun or path is None or not weights_there(context.machine.scratch, job.run.id, job.keep):
        return None
    return Done(job.run.id, load_result(path), str(path), trained=False)


def _train(jobs: Sequence[Job], context: TrainingContext, emit: Tell) -> list[Sequence[Job]]:
    """Train a cohort; the halves of what is left of it, should memory run out."""
    left = {job.run.id: job for job in jobs}

    def watch(run: Run, progress: Progress) -> None:
        images = run.recipe.train_size or len(context.dataset(run.dataset).train_labels)
        speed = images * progress.epoch / max(progress.training_seconds, 1e-9)
        emit(Update(run.id, progress.epoch, progress.top1[-1], speed))

    try:
        for job, given in _ends(jobs, context, watch):
            del left[job.run.id]
            if isinstance(given, Exception):
                emit(end(job, context.machine, given))
                continue
            emit(_keep(job, context, given))
    except Exception as error:  # noqa: BLE001 - as above, but of all that are left
        if len(left) == 1 or not is_short(error):
            refuse(left.values(), context.machine, error, emit)
            left.clear()
    if not left:
        return []
    gc.collect()
    if context.device.type == "cuda":
        torch.cuda.empty_cache()
    rest = list(left.values())
    middle = (len(rest) + 1) // 2
    return [rest[:middle], rest[middle:]]


def _ends(
    jobs: Sequence[Job], context: TrainingContext, watch: Watch
) -> Iterator[tuple[Job, Result | Exception]]:
    """How a cohort ends, trained by as many processes as there are for each run."""
    if context.processes == 1 or not jobs:
        return train_cohort(jobs, context, watch)
    from kdbench.training.together import train_together

    (job,) = jobs
    return train_together(job, context, watch)


def _keep(job: Job, context: TrainingContext, result: Result) -> Done | Failed | Elsewhere | Died:
    try:
        path = context.write(job.run, lambda: save_result(context.machine.results, result))
        checkpoint.forget(context.machine.scratch / "checkpoints" / job.run.id)
    except Exception as error:  # noqa: BLE001 - as above
        return end(job, context.machine, error)
    return Done(job.run.id, result, str(path), trained=True)


def refuse(jobs: Iterable[Job], machine: Machine, error: Exception, emit: Tell) -> None:
    """Tell each of these runs that it cannot be trained here."""
    for job in jobs:
        emit(end(job, machine, error))


def end(job: Job, machine: Machine, error: Exception) -> Failed | Elsewhere | Died:
    """What an exception means for its run: it failed, another process has it, or one of its own died."""
    if isinstance(error, LostError):
        return Elsewhere(job.run.id)
    if isinstance(error, DiedError):
        return Died(job.run.id, str(error))
    if isinstance(error, GoneError):
        return Failed(job.run.id, Failure(id=job.run.id, run=job.run, cause=str(error), log=""))
    told = isinstance(error, UserError | DivergedError)
    cause = str(error) if told else f"{type(error).__name__}: {error}"
    whole = "".join(traceback.format_exception(error))
    return Failed(job.run.id, keep_failure(job.run, machine, cause, whole))
