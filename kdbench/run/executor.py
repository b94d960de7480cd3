"""Runs on this machine: one worker process per place, many runs per worker, since torch is slow to import.

A worker trains a cohort at a time. One that dies has run out of memory more often than not: the halves of its
cohort are tried again by themselves, and only a run that dies alone has failed. Where the server dies, its
forks die with it, for no reason of theirs: their cohorts are tried again as they are, once.

A worker of several ranks (`processes`) starts them and waits for their end (workers/launch.py); its pipe is
that of the first one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.grouping import halves
from kdbench.machine import Machine
from kdbench.spec.events import Cohort, Died, Event, ExecutorEvent, Failed, Update
from kdbench.store.run_log import keep_failure
from kdbench.store.weights import newest_checkpoint
from kdbench.workers.launch import launched, run_ranks
from kdbench.workers.process import (
    SERVER_DIED,
    Worker,
    describe_exit,
    forkable,
    prepare_worker,
    send,
    start_server,
)

if TYPE_CHECKING:
    from kdbench.training.context import TrainingContext

IDLE_S = 60.0
"""Seconds between two messages of an idle first rank: the others would not wait for ever."""
PRELOADED = ("kdbench.training.task", "kdbench.run.executor")
"""What a worker imports, torch with it: the server does it once for all of them."""


class LocalExecutor:
    """A few workers, started when they are first needed.

    Args:
        machine: this one.
        max_workers: at most. As a rank that torchrun or Slurm has started this process has one, for ever.
    """

    def __init__(self, machine: Machine, max_workers: int) -> None:
        self.machine = replace(machine, local=replace(machine.local, workers=max_workers))
        self.max_workers = max_workers
        self.workers: list[Worker] = []
        self.places: dict[Worker, int] = {}
        self.as_rank = launched() is not None
        self.gpus = [] if self.as_rank else gpu_sets(machine, machine.local.processes)
        self.forked = not self.as_rank and not self.gpus and forkable(machine)
        """Whether workers are forks of a server that has imported torch."""
        self.retry_queue: list[Cohort] = []
        """What is to be tried again as soon as a worker is free."""
        self.lost_with_server: set[str] = set()
        """The ids of runs whose worker has died with the server once: the next time they have failed."""

    @property
    def free(self) -> int:
        """Workers without a run, and without one that is waiting for it."""
        busy = sum(bool(worker.tasks) for worker in self.workers)
        return max(0, self.max_workers - busy - len(self.retry_queue))

    def submit(self, cohort: Cohort) -> None:
        """Give runs to an idle worker, or to a new one."""
        self.workers = [worker for worker in self.workers if worker.tasks or worker.process.is_alive()]
        worker = next((worker for worker in self.workers if not worker.tasks), None)
        if worker is None:
            worker = self.start_worker()
            self.workers.append(worker)
        worker.tasks = {task.run.id: task for task in cohort}
        with suppress(OSError):  # it has just died: the next event says so
            worker.pipe.send(cohort)

    def start_worker(self) -> Worker:
        """A new worker on the lowest free place; places have the GPUs in turn, `processes` of them each.

        Raises:
            UserError: the ranks that others have started are not whole any more.
        """
        if self.as_rank and self.places:
            raise UserError(
                "a process that trains each run together with this one has failed, and the others cannot go "
                "on without it: start the same command again, and it goes on from the last checkpoint"
            )
        # the lowest free place: a worker that replaces a dead one gets that one's GPU
        taken = {self.places[worker] for worker in self.workers}
        place = next(number for number in range(self.max_workers) if number not in taken)
        worker = self.make_worker(self.gpus[place % len(self.gpus)] if self.gpus else None)
        self.places[worker] = place
        return worker

    def make_worker(self, gpu: str | None) -> Worker:
        """A process, on this GPU."""
        self.warm_up()
        return Worker(self.machine, work, (gpu,), forked=self.forked)

    def warm_up(self) -> None:
        """Start what workers are forks of, and do not wait for it: it imports torch meanwhile."""
        if self.forked:
            start_server(PRELOADED)

    def events(self, seconds: float) -> Iterator[ExecutorEvent]:
        """What the workers send; a worker that died is the failure of its run, if it had but one."""
        busy = {worker.pipe: worker for worker in self.workers if worker.tasks}
        for pipe in wait(list(busy), seconds):
            event = self._event(busy[pipe])  # type: ignore[index]
            while self.retry_queue and sum(bool(worker.tasks) for worker in self.workers) < self.max_workers:
                self.submit(self.retry_queue.pop(0))
            if event is not None:
                yield event

    def _event(self, worker: Worker) -> ExecutorEvent | None:
        """What a worker sent, or that it died with its runs; None where they are tried again."""
        try:
            event: Event | Died = worker.pipe.recv()
        except (EOFError, OSError):
            return self._lost(worker)
        if isinstance(event, Died):
            self.workers.remove(worker)
            worker.stop()
            return self.died(tuple(worker.tasks.values()), event.why, event.whole)
        if not isinstance(event, Update):
            worker.tasks.pop(event.id, None)
        return event

    def _lost(self, worker: Worker) -> Failed | None:
        """What becomes of the runs of a worker that has died; None: they are tried again."""
        self.workers.remove(worker)
        worker.process.join()
        cohort, code = tuple(worker.tasks.values()), worker.process.exitcode
        # the server reaps its forks and reports how they ended; when it is gone nobody can, and its forks
        # have been killed with it (`die_with_parent`): it was not the run's doing
        if not self.forked or code != SERVER_DIED:
            return self.died(cohort, f"the worker process died ({describe_exit(code)})")
        if self.lost_with_server.isdisjoint(worker.tasks):
            self.lost_with_server.update(worker.tasks)
            self.retry_queue.append(cohort)
            return None
        return self.died(cohort, "the server of the worker processes was killed, and the worker with it,")

    def died(self, cohort: Cohort, how: str, whole: str = "") -> Failed | None:
        """What becomes of runs of which a process died, with its traceback; None: they are tried again."""
        if len(cohort) > 1:
            self.retry_queue += halves(cohort)
            return None
        (task,) = cohort
        kept = newest_checkpoint(self.machine.scratch, task.run.id)
        cause = f"{how} in epoch {kept + 1} of {task.run.recipe.epochs}"
        whole = f"{cause}\n`kdbench run` goes on from epoch {kept}.\n{whole}"
        return Failed(task.run.id, keep_failure(task.run, self.machine, cause, whole, trial=task.trial))

    def close(self) -> None:
        """Stop all workers."""
        for worker in self.workers:
            worker.stop()
        self.workers.clear()
        self.retry_queue.clear()


def work(pipe: Connection, machine: Machine, gpu: str | None = None) -> None:
    """What a worker process does, in as many ranks as each run has."""
    prepare_worker(machine, gpu)
    run_ranks(train_received, pipe, machine)


def train_received(pipe: Connection, machine: Machine) -> None:
    """What a rank of a worker does: open its context once, then a cohort at a time until the pipe closes."""
    from kdbench.training.context import open_context
    from kdbench.training.task import do, refuse

    emit: Callable[[Event], None] = partial(send, pipe)
    try:
        context = open_context(machine, as_rank=True)
    except UserError as error:  # a device that is not there: every run fails so
        while (cohort := _receive(pipe)) is not None:
            refuse(cohort, machine, error, emit)
    else:
        serve(pipe, context, partial(do, context=context, emit=emit))


def serve(pipe: Connection, context: "TrainingContext", train: Callable[[Cohort], None]) -> None:
    """Train what comes through the pipe until it closes, together with the other ranks.

    Args:
        pipe: to who hands out the runs; the first rank alone reads it.
        context: this process's.
        train: of the first rank: trains a cohort; what it raises has broken the group.
    """
    from kdbench.training.task import follow

    if not context.group.is_main:
        pipe.close()
        follow(context)
        return
    try:
        while True:
            while not pipe.poll(IDLE_S):
                context.group.broadcast_object(())
            cohort = _receive(pipe)
            if cohort is None:
                return
            train(cohort)
    except Exception as error:
        if context.group.size == 1:
            raise
        cause, _, whole = context.group.leave(error).partition("\n")
        # where ranks are this worker's own, it knows best how one died (workers/launch.py)
        if cause or context.machine.local.processes == 1:
            send(pipe, Died(cause or str(error), whole))


def _receive(pipe: Connection) -> Cohort | None:
    """The next runs; None: there are no more."""
    try:
        cohort: Cohort = pipe.recv()
    except (EOFError, OSError):
        return None
    return cohort


def default_workers(machine: Machine) -> int:
    """As many cohorts at a time as benchmark.toml says, else as GPUs, or else cores, have room for."""
    local = machine.local
    if local.workers:
        return local.workers
    if local.device.startswith("cuda:"):
        return local.runs_per_gpu
    if gpus := gpu_sets(machine, local.processes):
        return len(gpus) * local.runs_per_gpu
    return max(1, len(os.sched_getaffinity(0)) // (local.threads * local.processes))


def gpu_sets(machine: Machine, each: int) -> list[str]:
    """The GPUs of each worker, as CUDA_VISIBLE_DEVICES names them: one for each process of its runs here."""
    gpus = visible_gpus(machine)
    if 0 < len(gpus) < each:  # the processes share them
        return [",".join(gpus)]
    firsts = range(0, len(gpus) - each + 1, each)
    return [",".join(gpus[first : first + each]) for first in firsts]


def visible_gpus(machine: Machine) -> list[str]:
    """The GPUs to spread workers over, as CUDA_VISIBLE_DEVICES names them; none where a device is chosen."""
    if machine.local.device not in ("auto", "cuda"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu and gpu != "-1"]
    devices = list(Path("/dev").glob("nvidia[0-9]*"))
    return [str(number) for number in range(len(devices))]
