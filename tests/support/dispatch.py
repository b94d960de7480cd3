"""An executor that trains nothing: its runs end when they are asked for."""

from collections.abc import Collection, Iterator

from kdbench.spec.events import Cohort, Done, Failed, Job, Told, Update
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from tests.support.build import make_result


class Instant:
    """Ends one run whenever it is asked, of the oldest cohort (0) or the newest (-1); keeps a diary."""

    def __init__(self, slots: int = 1, failing: Collection[Run] = (), ending: int = 0) -> None:
        self.slots, self.failing, self.ending = slots, [run.id for run in failing], ending
        self.running: list[list[Job]] = []
        self.cohorts: list[list[Run]] = []
        self.jobs: list[Job] = []
        self.diary: list[tuple[str, str]] = []

    @property
    def free(self) -> int:
        """How many more runs it takes."""
        return self.slots - len(self.running)

    def submit(self, cohort: Cohort) -> None:
        """Refuse runs beyond the slots."""
        assert self.free > 0
        self.cohorts.append([job.run for job in cohort])
        self.jobs.extend(cohort)
        self.running.append(list(cohort))
        self.diary.extend(("start", job.run.id) for job in cohort)

    def events(self, seconds: float) -> Iterator[Told]:
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
