"""Inside a Slurm job: worker processes, each with its GPU, and what becomes of each run.

Where a job has several tasks, they are the ranks of each of its runs: the first one supervises, the others
follow it in processes of submitit (cluster/sbatch.py).

The supervisor (submitit's process) never imports torch. It starts workers that only SIGKILL can end, as Slurm
signals every process of a job; it hands out the runs, writes down how far they are, and starts a run again
whose process died.
"""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import NoReturn

from msgspec import Struct

from kdbench.cluster.ledger import MAX_RESTARTS, Attempt, Cause, Ledger
from kdbench.cluster.scheduler import run_command
from kdbench.errors import UserError
from kdbench.formatting import spell_on_terminal
from kdbench.machine import Machine
from kdbench.run.dispatch import dispatch
from kdbench.run.executor import LocalExecutor, serve
from kdbench.run.progress import ending
from kdbench.spec.events import (
    Blocked,
    Cohort,
    Done,
    Elsewhere,
    Event,
    ExecutorEvent,
    Failed,
    Task,
    Update,
)
from kdbench.spec.runs import Run
from kdbench.store.records import index
from kdbench.store.run_log import log
from kdbench.store.weights import newest_checkpoint, remove_damaged, weights_file
from kdbench.workers.launch import run_ranks
from kdbench.workers.process import Worker, prepare_worker, send

MASKED = (signal.SIGTERM, signal.SIGUSR2)
"""What Slurm sends to all processes of a job, and only the supervisor answers."""
NOTE_INTERVAL_S = 1.0
"""Seconds between two notes in the ledger on the progress of one run."""


class Assignment(Struct, frozen=True):
    """A run in a job."""

    task: Task
    max_timeouts: int
    """How often its jobs' time may be up before it has failed."""


class JobWork(Struct, frozen=True):
    """All that a job needs to know."""

    machine: Machine
    assignments: tuple[Assignment, ...]
    teachers: dict[str, tuple[int | str, ...]]
    """The epochs that each teacher's run must keep, should it have to be trained here."""
    workers: int
    minutes: int
    """The job's limit."""
    signal: int
    """Seconds before it that the job is signalled."""
    nodes: int = 1


class JobContext(Struct, frozen=True):
    """A life of a job."""

    work: JobWork
    job: str
    node: str
    started: float

    @property
    def cause(self) -> Cause:
        """Why it is interrupted now: Slurm's clock is a minute coarse."""
        # 75: Slurm may signal a minute earlier than it was asked to, and 15 s are spare
        spent = time.time() - self.started
        return "time" if spent > 60 * self.work.minutes - self.work.signal - 75 else "stopped"


class Journal:
    """What a supervisor writes down of its runs: a log of each, for people; in the ledger, for `status`.

    A record that cannot be written costs no training.
    """

    def __init__(self, job_context: JobContext) -> None:
        self.job = job_context.job
        self.machine = job_context.work.machine
        self.runs = all_runs(job_context.work)
        tasks = [assignment.task for assignment in job_context.work.assignments]
        self.trials = {run.id for task in tasks if task.trial for run in task.run.lineage}
        self.ledger = Ledger(self.machine.scratch)
        self.last_noted: dict[str, float] = {}

    def note(self, event: ExecutorEvent) -> None:
        """Something happened to a run."""
        if isinstance(event, Elsewhere):
            return
        if isinstance(event, Update):
            self._update(event)
            return
        self.write_log(event.id, ending(event))
        if isinstance(event, Done) and event.trained:
            self.end(event.id, "done")
        if isinstance(event, Failed):
            self.end(event.id, "failed", event.failure.cause)

    def _update(self, event: Update) -> None:
        """An epoch is over: a line for the log each time, a note in the ledger once in `NOTE_INTERVAL_S`."""
        speed = f"{event.images_per_second:,.0f} images/s"
        epochs = self.runs[event.id].recipe.epochs
        self.write_log(event.id, f"epoch {event.epoch}/{epochs}, top1 {event.top1:.2f}, {speed}")
        if time.monotonic() - self.last_noted.get(event.id, -NOTE_INTERVAL_S) >= NOTE_INTERVAL_S:
            self.last_noted[event.id] = time.monotonic()
            with suppress(UserError):
                self.ledger.note_progress(self.job, event)

    def end(self, run: str, cause: Cause, why: str = "") -> None:
        """A start of a run is over."""
        if cause not in ("done", "failed"):
            self.write_log(run, f"{cause}: {why}" if why else cause)
        with suppress(UserError):
            self.ledger.end(run, self.job, cause, why)

    def write_log(self, run: str, text: str) -> None:
        """Add a line to the run's log and to the job's own output."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} job {self.job}: {text}"
        print(f"{line} [{run}]", flush=True)  # noqa: T201 - the job's output
        log(self.machine, self.runs[run], "jobs.log", f"{line}\n", trial=run in self.trials)


class NodeExecutor(LocalExecutor):
    """The worker processes of a job."""

    def __init__(self, job_context: JobContext) -> None:
        super().__init__(job_context.work.machine, job_context.work.workers)
        self.job_context = job_context
        self.crashes: Counter[str] = Counter()
        self.journal = Journal(job_context)

    def make_worker(self, gpu: str | None) -> Worker:
        """A process that Slurm's signals do not reach, on this GPU."""
        with masked():
            self.warm_up()
            return Worker(self.machine, work, (self.job_context, gpu), forked=self.forked)

    def events(self, seconds: float) -> Iterator[ExecutorEvent]:
        """What the workers send, written down as it comes."""
        for event in super().events(seconds):
            with undisturbed():
                self.journal.note(event)
            yield event

    def died(self, cohort: Cohort, how: str, whole: str = "") -> Failed | None:
        """A run whose process died starts again, until it has done so too often.

        Of a cohort it is unknown which run was the cause: that counts for none, and the halves are tried.
        Where the job's tasks are the ranks of the run, they cannot go on without the one that died: the job
        starts again, and its attempts, which the ledger has, say whether the run has died too often.
        """
        alone = len(cohort) == 1
        for task in cohort:
            with undisturbed():
                self.journal.end(task.run.id, "crash" if alone else "stopped", how)
            self.crashes[task.run.id] += alone
        if self.as_rank:
            requeue(self.job_context.job)  # does not return
        if not alone or self.crashes[cohort[0].run.id] > MAX_RESTARTS:  # it may have left no attempt
            return super().died(cohort, how, whole)
        self.retry_queue.append(cohort)
        return None

    def close(self) -> None:
        """End the workers; they answer nothing but SIGKILL."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
        self.workers.clear()


_current: NodeExecutor | None = None


def supervise(work: JobWork, job: str) -> int:
    """Train the runs of a job.

    Args:
        work: what is to be done.
        job: as squeue prints it.

    Returns:
        How many have a result.

    Raises:
        RuntimeError: none has: so that jobs which depend on this one do not start.
    """
    global _current  # noqa: PLW0603 - the signal's handler has no other way to it
    spell_on_terminal()
    job_context = JobContext(work, job, node_name(work.nodes), time.time())
    executor = _current = NodeExecutor(job_context)
    signal.signal(signal.SIGTERM, _mark_stopped)
    tasks = [assignment.task for assignment in work.assignments]
    runs = [task.run for task in tasks]
    keep = {task.run.id: task.keep for task in tasks}
    trials = {task.run.id for task in tasks if task.trial}
    several_ranks = executor.as_rank or work.machine.local.processes > 1
    done = failed = 0
    try:
        for event in dispatch(runs, executor, keep=keep, cohorts=not several_ranks, trials=trials):
            done += isinstance(event, Done)
            failed += isinstance(event, Failed | Blocked)
    finally:
        executor.close()
    if failed and not done:
        raise RuntimeError(f"none of {failed} runs has a result; `kdbench status` says why")
    return done


def requeue(job: str) -> NoReturn:
    """End this life of a job, with all of its tasks; the next one goes on from the checkpoints.

    Raises:
        UserError: Slurm does not requeue it.
    """
    run_command("scontrol", "requeue", job)
    while True:
        time.sleep(1)  # until Slurm ends this process


def node_name(nodes: int = 1) -> str:
    """This node as Slurm calls it; with all the others of a job that has several."""
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    return os.environ.get("SLURM_JOB_NODELIST", name) if nodes > 1 else name


def interrupted() -> None:
    """The job is to end and will be requeued: end the workers and write down why."""
    if _current is not None:
        _mark(_current, _current.job_context.cause)
        _current.close()


def _mark_stopped(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM: Slurm will kill the job, and requeue it or not. Each epoch until then is a gain."""
    if _current is not None:
        _mark(_current, "stopped")


def _mark(executor: NodeExecutor, cause: Cause) -> None:
    for worker in executor.workers:
        for name in worker.tasks:
            executor.journal.end(name, cause)


def all_runs(work: JobWork) -> dict[str, Run]:
    """The runs of a job and their teachers, by id."""
    return {run.id: run for assignment in work.assignments for run in assignment.task.run.lineage}


@contextmanager
def undisturbed() -> Iterator[None]:
    """No signal is answered while a file is written that the answer would write too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, MASKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def masked() -> Iterator[None]:
    """What is started meanwhile never gets the signals that Slurm sends to a whole job.

    A process inherits the mask of the one that starts it. Python's resource tracker, which the first Worker
    would start, unblocks SIGTERM here as it begins: so it is started before, and the signals blocked again.
    """
    with undisturbed():
        resource_tracker.ensure_running()
        with undisturbed():
            yield


def work(pipe: Connection, machine: Machine, job_context: JobContext, gpu: str | None) -> None:
    """What a worker does, in as many ranks as each run has on this node."""
    prepare_worker(machine, gpu)
    run_ranks(train_received, pipe, machine, job_context, gpu)


def train_received(pipe: Connection, machine: Machine, job_context: JobContext, gpu: str | None) -> None:
    """What a rank of a worker does: a cohort at a time, on its own GPU, until the pipe closes."""
    from kdbench.training.context import open_context
    from kdbench.training.task import do, refuse

    context = open_context(machine, as_rank=True)
    starts = partial(begin, job_context, gpu)
    emit = partial(send, pipe)

    def train_teacher(teacher: Task) -> Event:
        ends: list[Event] = []

        def emit_epochs(event: Event) -> None:  # the supervisor, who has not handed it out, waits for no end
            if isinstance(event, Update):
                emit(event)
            else:
                ends.append(event)

        do((teacher,), context, emit_epochs, starts)
        return ends[0]

    def train_cohort(cohort: Cohort) -> None:
        try:
            reasons = [ensure_teacher(task, job_context.work, train_teacher) for task in cohort]
        except UserError as error:  # results that cannot be read
            refuse(cohort, machine, error, emit)
            return
        for reason in filter(None, reasons):
            emit(reason)
        ready = [task for task, reason in zip(cohort, reasons, strict=True) if reason is None]
        do(ready, context, emit, starts)

    serve(pipe, context, train_cohort)


def begin(job_context: JobContext, gpu: str | None, run: Run) -> None:
    """Write down that a run starts: one that the job was given, or a teacher that it trains for it.

    Raises:
        UserError: it has died too often.
    """
    scratch = job_context.work.machine.scratch
    allowed = {each.task.run.id: each.max_timeouts for each in job_context.work.assignments}
    epoch = newest_checkpoint(scratch, run.id)
    attempt = Attempt(
        job=job_context.job,
        node=job_context.node,
        gpu=gpu or "",
        started=time.time(),
        start=epoch,
        epoch=epoch,
    )
    Ledger(scratch).begin(run.id, attempt, allowed.get(run.id, max(allowed.values())))


def ensure_teacher(task: Task, work: JobWork, train: Callable[[Task], Event]) -> Blocked | Elsewhere | None:
    """Make sure of a student's teacher: a dependency may have been met without it.

    A teacher whose weights are missing or damaged is trained here; a student waits where another process
    trains its teacher; one that failed blocks its student. None: the student may start.
    """
    machine, teacher = work.machine, task.run.teacher
    there = index(machine.results)
    if teacher is None or not teacher.trained or task.run.id in there.results:
        return None
    if weights_file(machine.scratch, teacher.run.id, teacher.epoch) is not None:
        return None
    if teacher.run.id in there.failures:
        return Blocked(task.run.id, teacher.run.id)
    remove_damaged(machine.scratch, teacher.run.id, teacher.epoch)
    # the teacher's teacher comes first, as deep as it goes; the chain ends at a run without one, or whose
    # teacher's weights are there
    keep = work.teachers.get(teacher.run.id, (teacher.epoch,))
    theirs = Task(teacher.run, keep, trial=task.trial)
    end = ensure_teacher(theirs, work, train) or train(theirs)
    if isinstance(end, Elsewhere):
        return Elsewhere(task.run.id)
    return Blocked(task.run.id, teacher.run.id) if isinstance(end, Failed | Blocked) else None
