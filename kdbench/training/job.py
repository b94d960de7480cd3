"""One run inside a worker process: train it, keep its result, or say why there is none."""

import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from kdbench.errors import DivergedError, UserError
from kdbench.jobs import Done, Event, Failed, Job, Update
from kdbench.logbook import log
from kdbench.machine import Machine
from kdbench.spec import Failure, Run
from kdbench.store import index, load_result, save_failure, save_result, weights_there
from kdbench.training import checkpoint
from kdbench.training.checkpoint import Progress
from kdbench.training.run import train
from kdbench.training.world import World


def do(
    job: Job, world: World, tell: Callable[[Event], None], starts: Callable[[Run], None] = lambda _: None
) -> Done | Failed:
    """Train a job's run, unless another process has done it meanwhile; nothing raises but an interrupt.

    Args:
        job: what to train.
        world: this process's hold on its machine.
        tell: called with each event.
        starts: called when training is about to begin; what it raises is the run's failure.
    """
    scratch = world.machine.scratch
    lock = scratch / "locks" / f"{job.run.id}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            elsewhere = _done_elsewhere(job, world)
            if elsewhere is None:
                starts(job.run)
            return elsewhere or _train(job, world, tell)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's failure and no other's
        return fail(job, world.machine, error)


def _done_elsewhere(job: Job, world: World) -> Done | None:
    path = index(world.machine.results).results.get(job.run.id)
    if job.again or path is None or not weights_there(world.machine.scratch, job.run.id, job.keep):
        return None
    return Done(job.run.id, load_result(path), str(path), trained=False)


def _train(job: Job, world: World, tell: Callable[[Event], None]) -> Done:
    def watch(progress: Progress) -> None:
        trained = (
            job.run.recipe.train_size or len(world.dataset(job.run.dataset).train_labels)
        ) * progress.epoch
        speed = trained / max(progress.training_seconds, 1e-9)
        tell(Update(job.run.id, progress.epoch, progress.top1[-1], speed))

    result = train(job.run, world, keep=job.keep, watch=watch)
    path = save_result(world.machine.results, result)
    checkpoint.forget(world.machine.scratch / "checkpoints" / job.run.id)
    return Done(job.run.id, result, str(path), trained=True)


def fail(job: Job, machine: Machine, error: Exception) -> Failed:
    """Keep the whole traceback in the run's log, and what went wrong, in a line, in the results."""
    trace = log(machine, job.run, "log", "".join(traceback.format_exception(error)), anew=True)
    cause = str(error) if isinstance(error, UserError | DivergedError) else f"{type(error).__name__}: {error}"
    failure = Failure(id=job.run.id, run=job.run, cause=f"{' '.join(cause.split()):.500}", log=_shown(trace))
    with suppress(UserError):
        save_failure(machine.results, failure)
    return Failed(job.run.id, failure)


def _shown(path: Path) -> str:
    """A path as a person at this machine would write it: from the current folder where it lies inside."""
    inside = path.resolve().is_relative_to(Path.cwd())
    return str(path.resolve().relative_to(Path.cwd()) if inside else path)
