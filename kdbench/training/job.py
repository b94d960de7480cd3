"""A cohort inside a worker process: train it, keep each run's result, or say why there is none."""

import gc
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from kdbench.errors import DivergedError, UserError
from kdbench.jobs import Done, Event, Failed, Job, Update
from kdbench.logbook import log
from kdbench.machine import Machine
from kdbench.spec import Failure, Result, Run
from kdbench.store import index, load_result, save_failure, save_result, weights_there
from kdbench.training import checkpoint
from kdbench.training.checkpoint import Progress
from kdbench.training.memory import fitting, is_short
from kdbench.training.run import Watch, train_cohort
from kdbench.training.world import World

Tell = Callable[[Event], None]


def do(jobs: Sequence[Job], world: World, tell: Tell, starts: Callable[[Run], None] = lambda _: None) -> None:
    """Train runs beside each other, as many at a time as memory holds; nothing raises but an interrupt.

    A run that another process trains meanwhile is left to it, and looked after when the others are over.

    Args:
        jobs: what to train; all of one cohort (`kdbench.cohorts.lessons`).
        world: this process's hold on its machine.
        tell: called with each event; with exactly one end for each job.
        starts: called when a run's training is about to begin; what it raises is the run's failure.
    """
    together = fitting(jobs, world) if world.machine.local.processes == 1 else [(job,) for job in jobs]
    for part in together:
        left = _locked(part, world, tell, starts)
        for some in left:
            do(some, world, tell, starts)


def _locked(
    jobs: Sequence[Job], world: World, tell: Tell, starts: Callable[[Run], None]
) -> list[Sequence[Job]]:
    """Train those that nobody else trains; what is left to be done after that, in parts."""
    left: list[Sequence[Job]] = []
    ready: list[Job] = []
    with ExitStack() as locks:
        for job in jobs:
            try:
                locks.enter_context(_lock(job, world, wait=len(jobs) == 1))
                elsewhere = _done_elsewhere(job, world)
                if elsewhere is None:
                    starts(job.run)
                    ready.append(job)
                else:
                    tell(elsewhere)
            except Timeout:
                left.append((job,))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's failure and no other's
                tell(fail(job, world.machine, error))
        return [*_train(ready, world, tell), *left]


def _lock(job: Job, world: World, *, wait: bool) -> FileLock:
    path = world.machine.scratch / "locks" / f"{job.run.id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=-1 if wait else 0)


def _done_elsewhere(job: Job, world: World) -> Done | None:
    path = index(world.machine.results).results.get(job.run.id)
    if job.again or path is None or not weights_there(world.machine.scratch, job.run.id, job.keep):
        return None
    return Done(job.run.id, load_result(path), str(path), trained=False)


def _train(jobs: Sequence[Job], world: World, tell: Tell) -> list[Sequence[Job]]:
    """Train a cohort; the halves of what is left of it, should memory run out."""
    left = {job.run.id: job for job in jobs}

    def watch(run: Run, progress: Progress) -> None:
        images = run.recipe.train_size or len(world.dataset(run.dataset).train_labels)
        speed = images * progress.epoch / max(progress.training_seconds, 1e-9)
        tell(Update(run.id, progress.epoch, progress.top1[-1], speed))

    try:
        for job, end in _ends(jobs, world, watch):
            del left[job.run.id]
            if isinstance(end, Exception):
                tell(fail(job, world.machine, end))
                continue
            tell(_keep(job, world, end))
    except Exception as error:  # noqa: BLE001 - as above, but of all that are left
        if len(left) == 1 or not is_short(error):
            refuse(left.values(), world.machine, error, tell)
            left.clear()
    if not left:
        return []
    gc.collect()
    if world.device.type == "cuda":
        torch.cuda.empty_cache()
    rest = list(left.values())
    middle = (len(rest) + 1) // 2
    return [rest[:middle], rest[middle:]]


def _ends(jobs: Sequence[Job], world: World, watch: Watch) -> Iterator[tuple[Job, Result | Exception]]:
    """How a cohort ends, trained by as many processes as benchmark.toml says."""
    if world.machine.local.processes == 1 or not jobs:
        return train_cohort(jobs, world, watch)
    from kdbench.training.together import train_together

    (job,) = jobs
    return train_together(job, world, watch)


def _keep(job: Job, world: World, result: Result) -> Done | Failed:
    try:
        path = save_result(world.machine.results, result)
        checkpoint.forget(world.machine.scratch / "checkpoints" / job.run.id)
    except Exception as error:  # noqa: BLE001 - as above
        return fail(job, world.machine, error)
    return Done(job.run.id, result, str(path), trained=True)


def refuse(jobs: Iterable[Job], machine: Machine, error: Exception, tell: Tell) -> None:
    """Tell each of these runs that it cannot be trained here."""
    for job in jobs:
        tell(fail(job, machine, error))


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
