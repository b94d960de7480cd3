"""Worker processes: the same results in one or in two, and what becomes of one that dies."""

import multiprocessing
import operator
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kdbench import catalog
from kdbench.cluster import node
from kdbench.cluster.node import Assignment, JobContext, JobWork
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.plan.expand import weights_needed
from kdbench.run.dispatch import dispatch
from kdbench.run.executor import LocalExecutor, default_workers, work
from kdbench.spec.events import Blocked, Done, Event, Failed, Task, Update
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.store.records import index
from kdbench.store.weights import newest_checkpoint
from kdbench.workers.process import Worker, describe_exit, start_server
from tests.support.build import CE, KD, make_run
from tests.support.processes import forget_server, parent_of
from tests.support.worker_targets import PRELOADED, hold

RECIPE = Recipe(epochs=3, batch_size=32, lr=0.05, momentum=0.9, flip=True, train_size=96, test_size=100)
LONG = 80
"""Epochs of a run that a test has time to stop: about 0.01 s each."""


def digits(student: str, loss: Loss = CE, teacher: Teacher | None = None, **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    content, recipe = catalog.DATASETS["digits"].digest, replace(RECIPE, **settings)
    run = replace(make_run(student, 0, loss), dataset="digits", data=content)
    return replace(run, recipe=recipe, teacher=teacher)


TEACHER = digits("digits_cnn")
STOPPED = digits("digits_cnn", epochs=LONG)
STUDENT = digits("digits_mlp", KD, Teacher(STOPPED, LONG))
OTHER = digits("digits_mlp", lr=0.01)
RUNS = [
    TEACHER,
    digits("digits_mlp"),
    digits("digits_mlp", KD, Teacher(TEACHER, 3)),
    digits("digits_mlp", KD, Teacher(TEACHER, 1)),
]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], LocalExecutor]]:
    """Executors with so many workers, each with results of its own."""
    made: list[LocalExecutor] = []
    data = Data(folder=str(tmp_path_factory.mktemp("data")), offline=True)

    def new(workers: int) -> LocalExecutor:
        root = str(tmp_path_factory.mktemp("root"))
        folders = Folders(results="results", scratch="scratch")
        machine = Machine(
            local=Local(device="cpu", checkpoint_seconds=0), data=data, folders=folders, root=root
        )
        made.append(LocalExecutor(machine, workers))
        return made[-1]

    yield new
    for executor in made:
        executor.close()


@pytest.fixture(scope="module")
def one(make: Callable[[int], LocalExecutor]) -> LocalExecutor:
    """Its worker imports torch itself; those of `two` are forks."""
    executor = make(1)
    executor.forked = False
    return executor


@pytest.fixture(scope="module")
def two(make: Callable[[int], LocalExecutor]) -> LocalExecutor:
    executor = make(2)
    assert executor.forked
    return executor


@pytest.fixture(scope="module")
def killed(two: LocalExecutor) -> list[Event]:
    """The events of three runs, of which the first one's worker was killed when it had a checkpoint."""
    return train([STOPPED, STUDENT, OTHER], two, Kill(two, STOPPED))


def train(
    runs: Sequence[Run], executor: LocalExecutor, look: Callable[[Event], None] = lambda _: None
) -> list[Event]:
    emitted: list[Event] = []
    for event in dispatch(runs, executor, keep=weights_needed(runs)):
        look(event)
        emitted.append(event)
    return emitted


def numbers(emitted: Sequence[Event]) -> dict[str, tuple[object, ...]]:
    """All of the results that must not depend on when and where they were trained."""
    results = {event.id: event.result for event in emitted if isinstance(event, Done)}
    return {
        name: (result.curve.top1, result.curve.test_loss, result.curve.train_loss, result.weights)
        for name, result in results.items()
    }


class Kill:
    """Ends the worker of a run from outside: once, at its first checkpoint."""

    def __init__(self, executor: LocalExecutor, run: Run) -> None:
        self.executor, self.run, self.killed = executor, run, False

    def __call__(self, event: Event) -> None:
        """Look at an event."""
        scratch = self.executor.machine.scratch
        if self.killed or event.id != self.run.id or not newest_checkpoint(scratch, self.run.id):
            return
        (pid,) = (worker.process.pid for worker in self.executor.workers if self.run.id in worker.tasks)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.killed = True


def kept(executor: LocalExecutor) -> tuple[set[str], set[str]]:
    """The ids of the results and of the failures on disk."""
    there = index(executor.machine.results)
    return set(there.results), set(there.failures)


@pytest.mark.slow
def test_two_slots_give_the_results_of_one(one: LocalExecutor, two: LocalExecutor) -> None:
    alone, together = numbers(train(RUNS, one)), numbers(train(RUNS, two))
    assert alone.keys() == {run.id for run in RUNS}
    assert alone == together


@pytest.mark.slow
def test_worker_that_is_killed_is_the_failure_of_its_run_alone(killed: list[Event]) -> None:
    ends = {event.id: event for event in killed if not isinstance(event, Update)}
    failed = ends[STOPPED.id]
    assert isinstance(failed, Failed)
    assert failed.failure.cause.startswith("the worker process died (SIGKILL")
    assert ends[STUDENT.id] == Blocked(STUDENT.id, STOPPED.id)
    assert isinstance(ends[OTHER.id], Done)


class Holding(LocalExecutor):
    """Its workers are forks of a server without torch; they hold their run for ever."""

    def make_worker(self, gpu: str | None) -> Worker:
        """One of these."""
        assert gpu is None
        start_server([PRELOADED])
        return Worker(self.machine, hold, forked=self.forked)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no server")
@pytest.mark.parametrize("before", [False, True])
def test_run_whose_server_is_killed_is_tried_again_once(*, tmp_path: Path, before: bool) -> None:
    """One that has lost a worker so before has failed."""
    forget_server()
    executor = Holding(Machine(local=Local(device="cpu"), root=str(tmp_path)), 1)
    if before:
        executor.lost_with_server.add(OTHER.id)
    executor.submit((Task(OTHER),))
    (first,) = executor.workers
    assert [event.id for event in executor.events(60.0)] == [OTHER.id]
    assert first.process.pid is not None
    server = parent_of(first.process.pid)
    assert server != os.getpid()  # which would end here
    os.kill(server, signal.SIGKILL)
    ends = list(executor.events(60.0))
    again = [worker for worker in executor.workers if OTHER.id in worker.tasks]
    executor.close()
    forget_server()
    if before:
        [end] = ends
        assert isinstance(end, Failed)
        assert "the server of the worker processes was killed" in end.failure.cause
    assert (len(ends), len(again)) == ((1, 0) if before else (0, 1))
    assert first not in again


@pytest.mark.slow
@pytest.mark.usefixtures("killed")
def test_second_dispatch_does_what_a_killed_worker_has_left(one: LocalExecutor, two: LocalExecutor) -> None:
    """It goes on from the checkpoint, and its numbers are those of a run that nobody stopped."""
    results, failures = kept(two)
    assert OTHER.id in results
    assert failures == {STOPPED.id}
    emitted = train([STOPPED, STUDENT], two)
    assert next(event.epoch for event in emitted if isinstance(event, Update)) > 1
    assert numbers(emitted) == numbers(train([STOPPED, STUDENT], one))
    assert kept(two) == (results | {STOPPED.id, STUDENT.id}, set())


@pytest.mark.slow
def test_cohort_whose_worker_is_killed_goes_on_in_halves(two: LocalExecutor, one: LocalExecutor) -> None:
    """Nobody knows whose death it was: none has failed, and each half goes on from its checkpoints."""
    runs = [digits("digits_cnn", epochs=LONG, lr=lr) for lr in (0.011, 0.012, 0.013)]
    emitted = train(runs, one, Kill(one, runs[0]))
    sizes = [event.result.environment["cohort"] for event in emitted if isinstance(event, Done)]
    assert sorted(map(str, sizes)) == ["1", "2", "2"]
    assert numbers(emitted) == numbers(train(runs, two))


@pytest.mark.slow
def test_idle_worker_that_died_is_replaced(two: LocalExecutor) -> None:
    train([digits("digits_mlp", lr=0.03)], two)
    for worker in two.workers:
        worker.process.kill()
        worker.process.join()
    run = digits("digits_mlp", lr=0.04)
    assert numbers(train([run], two)).keys() == {run.id}


@pytest.mark.slow
@pytest.mark.parametrize("on_a_node", [False, True])
def test_worker_whose_driver_is_gone_ends_without_a_failure(two: LocalExecutor, *, on_a_node: bool) -> None:
    """The run is neither done nor failed: `kdbench run`, or the next job, goes on from its checkpoint."""
    run = digits("digits_cnn", epochs=LONG, lr=0.08 if on_a_node else 0.07)
    assignments = (Assignment(Task(run), 2),)
    here = JobContext(JobWork(two.machine, assignments, {}, 1, 10, 60), "1", "n1", 0.0)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    target, more = (node.work, (here, None)) if on_a_node else (work, ())
    process = context.Process(target=target, args=(theirs, two.machine, *more))
    process.start()
    theirs.close()
    ours.send((Task(run),))
    assert isinstance(ours.recv(), Update)
    ours.close()
    process.join(timeout=600)
    assert process.exitcode == 0
    assert run.id not in kept(two)[0] | kept(two)[1]
    assert list((two.machine.scratch / "checkpoints" / run.id).glob("*.safetensors"))


@pytest.mark.slow
def test_close_ends_workers_in_the_middle_of_a_run(one: LocalExecutor) -> None:
    run = digits("digits_cnn", epochs=1000)
    one.submit((Task(run),))
    (worker,) = one.workers
    assert any(isinstance(event, Update) for event in one.events(60.0))
    one.close()
    assert not worker.process.is_alive()
    assert one.free == 1
    assert run.id not in kept(one)[0] | kept(one)[1]


def test_executor_starts_no_worker_before_it_needs_one(make: Callable[[int], LocalExecutor]) -> None:
    executor = make(3)
    assert executor.free == 3
    assert list(executor.events(0.0)) == []
    assert executor.workers == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1"),
        (None, "exit code None"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-signal.SIGKILL, "SIGKILL - the kernel ends processes so when memory runs out"),
    ],
)
def test_end_of_a_process_in_words(code: int | None, words: str) -> None:
    assert describe_exit(code) == words


def test_slots_are_those_of_benchmark_toml() -> None:
    assert default_workers(Machine(local=Local(workers=7, threads=64))) == 7


def test_slots_leave_each_run_its_threads() -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_workers(Machine(local=Local(device="cpu", threads=1))) == cores
    assert default_workers(Machine(local=Local(device="cpu", threads=1000 * cores))) == 1


@pytest.mark.parametrize(
    ("device", "visible", "workers"),
    [("auto", "2,5", 4), ("cuda", "2", 2), ("cuda:1", "2,5", 2), ("auto", "MIG-7a", 2)],
)
def test_slots_are_the_gpus_times_the_runs_of_each(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str, workers: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert default_workers(Machine(local=Local(device=device, runs_per_gpu=2))) == workers


def test_workers_share_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    given: list[str | None] = []

    class Seated(LocalExecutor):
        def make_worker(self, gpu: str | None) -> Worker:
            given.append(gpu)
            return Worker(self.machine, operator.is_)

    executor = Seated(Machine(), 4)
    for _ in range(4):
        executor.workers.append(executor.start_worker())
    executor.close()
    assert given == ["2", "5", "2", "5"]


@pytest.mark.slow
def test_device_that_is_not_there_is_told_as_the_cause(tmp_path: Path) -> None:
    machine = Machine(local=Local(device="cuda:77"), folders=Folders(), root=str(tmp_path))
    executor = LocalExecutor(machine, 1)
    emitted = train([TEACHER, OTHER], executor)
    executor.close()
    assert [type(event) for event in emitted] == [Failed, Failed]
    [first, _] = [event.failure for event in emitted if isinstance(event, Failed)]
    assert first.cause.startswith("benchmark.toml, [local], device = 'cuda:77': ")
    assert "Traceback" in (tmp_path / first.log).read_text(encoding="utf-8")
