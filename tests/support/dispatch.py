"""Executors without workers: one trains nothing, one trains in this process."""

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kdbench import catalog
from kdbench.machine import Machine
from kdbench.spec.events import Cohort, Done, Event, ExecutorEvent, Failed, Task, Update
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from tests.support.build import make_result

if TYPE_CHECKING:
    from kdbench.training.context import TrainingContext


class Instant:
    """Ends one run whenever it is asked, of the oldest cohort (0) or the newest (-1); keeps a diary."""

    def __init__(self, workers: int = 1, failing: Collection[Run] = (), ending: int = 0) -> None:
        self.workers, self.failing, self.ending = workers, [run.id for run in failing], ending
        self.running: list[list[Task]] = []
        self.cohorts: list[list[Run]] = []
        self.tasks: list[Task] = []
        self.diary: list[tuple[str, str]] = []

    @property
    def free(self) -> int:
        """How many more runs it takes."""
        return self.workers - len(self.running)

    def submit(self, cohort: Cohort) -> None:
        """Refuse runs beyond the workers."""
        assert self.free > 0
        self.cohorts.append([task.run for task in cohort])
        self.tasks.extend(cohort)
        self.running.append(list(cohort))
        self.diary.extend(("start", task.run.id) for task in cohort)

    def events(self, seconds: float) -> Iterator[ExecutorEvent]:
        """One run's epoch and end."""
        assert seconds > 0
        if not self.running:
            return
        cohort = self.running[self.ending]
        run = cohort.pop(0).run
        if not cohort:
            del self.running[self.ending]
        yield Update(run.id, 1, 10.0, 100.0)
        self.diary.append(("end", run.id))
        if run.id in self.failing:
            yield Failed(run.id, Failure(id=run.id, run=run, cause="diverged", log="a.log"))
        else:
            yield Done(run.id, make_result(run, 10.0, 20.0), "a.json", trained=True)

    def close(self) -> None:
        """Forget what runs."""
        self.running.clear()


class InProcess:
    """Trains a cohort when its events are asked for; takes the place of `LocalExecutor`."""

    def __init__(self, machine: Machine, max_workers: int) -> None:
        assert max_workers > 0
        self.machine = machine
        self.workers: list[object] = []
        self.waiting: list[Cohort] = []

    @cached_property
    def context(self) -> "TrainingContext":
        """This process's; the import of torch waits until something is trained."""
        from kdbench.training.context import open_context

        return open_context(self.machine)

    @property
    def free(self) -> int:
        """How many more cohorts it takes."""
        return 1 - len(self.waiting)

    def warm_up(self) -> None:
        """There is nothing to start."""

    def submit(self, cohort: Cohort) -> None:
        """Keep it until its events are asked for."""
        self.waiting.append(cohort)

    def events(self, seconds: float) -> Iterator[ExecutorEvent]:
        """All events of the cohort."""
        from kdbench.training.task import do

        assert seconds > 0
        emitted: list[Event] = []
        while self.waiting:
            do(self.waiting.pop(), self.context, emitted.append)
        yield from emitted

    def close(self) -> None:
        """Nothing runs."""


def call_in_this_process(machine: Machine, code: str, *more: object, forked: bool = False) -> Iterator[Any]:
    """As `kdbench.workers.call.call_in_subprocess`, without the process."""
    del forked
    yield from catalog.load(code)(machine, *more)
