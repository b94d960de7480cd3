"""An executor that trains nothing: its runs end when they are asked for."""

from collections.abc import Collection, Iterator

from kdbench.spec.events import Cohort, Done, ExecutorEvent, Failed, Task, Update
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from tests.support.build import make_result


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
