"""Inside a job, without a cluster: workers that die, teachers that are not there."""

import operator
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from kdbench.cluster.ledger import Ledger
from kdbench.cluster.node import Assignment, JobContext, JobWork, NodeExecutor, ensure_teacher
from kdbench.machine import Folders, Machine
from kdbench.spec.events import Blocked, Event, Failed, Task, Update
from kdbench.spec.results import Failure
from kdbench.store.records import save_failure
from kdbench.workers.process import Worker
from tests.support.build import CE, make_run
from tests.support.worker_targets import lose

if TYPE_CHECKING:
    from kdbench.spec.runs import Run

TEACHER = make_run("resnet18", 0, CE)
STUDENT = make_run(teacher=TEACHER)


class Dying(NodeExecutor):
    """Its workers end before they look at their run."""

    def start_worker(self) -> Worker:
        """One that compares its pipe with its machine, and ends."""
        worker = Worker(self.machine, operator.is_)
        self.places[worker] = 0
        return worker


class Losing(NodeExecutor):
    """Its workers lose one of their ranks with each run."""

    def make_worker(self, gpu: str | None) -> Worker:
        """One of these."""
        assert gpu is None
        return Worker(self.machine, lose)


@pytest.fixture
def work(tmp_path: Path) -> JobWork:
    """A job that trains one student."""
    machine = Machine(root=str(tmp_path), folders=Folders())
    return JobWork(machine, (Assignment(Task(STUDENT), 2),), {TEACHER.id: (2,)}, 1, 10, 60)


def events(executor: NodeExecutor) -> Iterator[Event]:
    """What happens, until nothing more can."""
    executor.submit((Task(STUDENT),))
    while any(worker.tasks for worker in executor.workers):
        yield from executor.events(1.0)


def test_worker_that_dies_at_once_is_not_started_for_ever(work: JobWork) -> None:
    executor = Dying(JobContext(work, "1", "n1", 0.0))
    (event,) = events(executor)
    assert isinstance(event, Failed)
    assert "the worker process died" in event.failure.cause
    assert executor.crashes[STUDENT.id] == 3
    assert Ledger(work.machine.scratch).history(STUDENT.id).failed_in("1"), "though it never began"
    (log,) = (work.machine.results / "cifar100" / "logs").glob("*.jobs.log")
    words = ["job 1: crash: the worker process died", "job 1: FAILED: the worker process died"]
    assert [log.read_text().count(word) for word in words] == [3, 1]


def test_run_that_loses_another_process_is_tried_again_as_one_whose_worker_died(work: JobWork) -> None:
    executor = Losing(JobContext(work, "1", "n1", 0.0))
    (event,) = events(executor)
    assert isinstance(event, Failed)
    assert event.failure.cause == "process 2 of the run died (SIGKILL) in epoch 1 of 2"
    assert executor.crashes[STUDENT.id] == 3
    executor.close()


def test_student_of_a_failed_teacher_is_blocked(work: JobWork) -> None:
    save_failure(work.machine.results, Failure(id=TEACHER.id, run=TEACHER, cause="diverged", log=""))
    assert ensure_teacher(Task(STUDENT), work, never) == Blocked(STUDENT.id, TEACHER.id)


def test_missing_teacher_is_trained_first(work: JobWork) -> None:
    trained: list[Run] = []

    def train(task: Task) -> Event:
        trained.append(task.run)
        return Update(task.run.id, 2, 90.0, 1.0)

    assert ensure_teacher(Task(STUDENT), work, train) is None
    assert trained == [TEACHER]


def test_damaged_weights_do_not_count(work: JobWork) -> None:
    damaged = work.machine.scratch / "weights" / TEACHER.id / f"2.{'0' * 64}.safetensors"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half of it")
    assert ensure_teacher(Task(STUDENT), work, lambda task: Update(task.run.id, 2, 90.0, 1.0)) is None
    assert not damaged.exists()


def test_run_without_a_teacher_waits_for_nobody(work: JobWork) -> None:
    assert ensure_teacher(Task(TEACHER), work, never) is None


@pytest.mark.parametrize(("spent", "cause"), [(60.0, "stopped"), (590.0, "time")])
def test_cause_of_a_signal(work: JobWork, monkeypatch: pytest.MonkeyPatch, spent: float, cause: str) -> None:
    monkeypatch.setattr("kdbench.cluster.node.time.time", lambda: spent)
    assert JobContext(replace(work, minutes=10), "1", "n1", 0.0).cause == cause


def never(task: Task) -> Event:
    """Nothing may be trained."""
    raise AssertionError(task)
