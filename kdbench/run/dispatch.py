"""Runs x executor -> events: cohorts as soon as their teacher is there; a failure stops only its students."""

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import chain, count
from operator import itemgetter
from time import monotonic
from typing import Protocol

from kdbench.plan.cohorts import cohort_key, make_cohorts
from kdbench.spec.events import (
    Blocked,
    Cohort,
    Done,
    Elsewhere,
    ExecutorEvent,
    Failed,
    RunEvent,
    Task,
    Update,
)
from kdbench.spec.runs import Run

EVENT_TIMEOUT_S = 0.2
"""Seconds to wait for an event before looking again."""
LATER = 2.0
"""Seconds until a run that another process trains is asked for again."""


class Executor(Protocol):
    """Where runs are trained."""

    @property
    def free(self) -> int:
        """How many more cohorts it would take now."""

    def submit(self, cohort: Cohort) -> None:
        """Start runs beside each other."""

    def events(self, seconds: float) -> Iterator[ExecutorEvent]:
        """What happened since last asked; waits up to so many seconds for the first thing."""

    def close(self) -> None:
        """Stop what still runs. Checkpoints stay."""


def dispatch(
    runs: Sequence[Run],
    executor: Executor,
    *,
    keep: Mapping[str, Collection[int | str]],
    rerun: bool = False,
    cohorts: bool = True,
    trials: Collection[str] = (),
) -> Iterator[RunEvent]:
    """Train runs, teachers before students, what others train now at last; yields what happens.

    Args:
        runs: what `make_plan` gave: teachers first. A teacher that is not among them must be stored.
        executor: where they are trained; it stays open.
        keep: by id, the epochs whose weights must be kept because somebody learns from them.
        rerun: train runs that have a result once more.
        cohorts: train runs that share views and teacher beside each other, in one process.
        trials: the ids of runs whose results lie apart.
    """

    def task(run: Run) -> Task:
        return Task(run, tuple(keep.get(run.id, ())), rerun, run.id in trials)

    waiting = Waiting(runs, cohorts=cohorts)
    running: dict[str, Run] = {}
    failed: dict[str, str] = {}  # since the last look: by run, the one whose failure it is
    while waiting.runs or running:
        yield from waiting.block(failed)
        failed.clear()
        for group in waiting.take(executor.free):
            executor.submit(tuple(map(task, group)))
            running |= {run.id: run for run in group}
        for event in executor.events(EVENT_TIMEOUT_S):
            if isinstance(event, Elsewhere):
                waiting.put_back(running.pop(event.id))
                continue
            if not isinstance(event, Update):
                running.pop(event.id, None)
            if isinstance(event, Failed | Blocked):
                failed[event.id] = event.teacher if isinstance(event, Blocked) else event.id
            elif isinstance(event, Done):
                waiting.release(event.id)
            yield event


class Waiting:
    """The runs that have not started. Each is looked at when something happens to it, never all of them.

    A run is `ready` when its teacher is no longer to be trained: from the start, or by `release`. Ready runs
    lie in groups that one process may train (`cohort_key`); groups are taken in the order of their
    first runs, so a heap has the place of each ready run. For example, a teacher and 3 of its students:

        waiting = Waiting([teacher, a, b, c], cohorts=True)
        waiting.take(2)            [(teacher,)]
        waiting.release(teacher.id)
        waiting.take(2)            [(a, b), (c,)]
    """

    def __init__(self, runs: Iterable[Run], *, cohorts: bool) -> None:
        self.cohorts = cohorts
        self.places = count()
        self.runs: dict[str, tuple[int, Run]] = {}
        """By id: the run and its place in the order, which is the plan's."""
        self.students: dict[str, list[str]] = {}
        """By the id of a teacher."""
        self.ready: dict[Hashable, dict[int, Run]] = {}
        self.heap: list[tuple[int, Hashable]] = []
        self.elsewhere: deque[tuple[float, str]] = deque()
        """Runs that others train, and when each is asked for again: in the order of these times."""
        for run in runs:
            self.runs[run.id] = (next(self.places), run)
        for name, (_, run) in self.runs.items():
            if run.taught_by:
                self.students.setdefault(run.taught_by, []).append(name)
            if run.taught_by not in self.runs:
                self._make_ready(name)

    def take(self, free: int) -> Sequence[tuple[Run, ...]]:
        """What is to be trained beside each other in so many workers that are free; it waits no longer."""
        while self.elsewhere and self.elsewhere[0][0] <= monotonic():
            self._make_ready(self.elsewhere.popleft()[1])
        taken: list[tuple[int, Run]] = []
        groups = 0
        while self.heap and groups < free:
            place, key = heappop(self.heap)
            # A group has an entry in the heap for each of its runs: the first that is popped takes all of
            # them, and the entries of the others are passed over.
            if place in self.ready.get(key, ()):
                group = [each for each in self.ready.pop(key).items() if each[1].id in self.runs]
                groups += bool(group)
                taken += group
        runs = [run for _, run in sorted(taken, key=itemgetter(0))]
        cohorts = make_cohorts(runs, free) if self.cohorts else [(run,) for run in runs]
        for run in chain.from_iterable(cohorts[:free]):
            del self.runs[run.id]
        for run in chain.from_iterable(cohorts[free:]):  # a group of more runs than these workers take
            self._make_ready(run.id)
        return cohorts[:free]

    def release(self, teacher: str) -> None:
        """A run has a result: its students are ready."""
        for name in self.students.pop(teacher, ()):
            self._make_ready(name)

    def put_back(self, run: Run) -> None:
        """Another process trains it: it is asked for again after `LATER` seconds, behind all others."""
        self.runs[run.id] = (next(self.places), run)
        self.elsewhere.append((monotonic() + LATER, run.id))

    def block(self, failed: Mapping[str, str]) -> Iterator[Blocked]:
        """Those whose teacher failed, or was blocked itself, wait no longer; in their order."""
        causes, left = dict(failed), list(failed)
        while left:
            teacher = left.pop()
            for name in self.students.pop(teacher, ()):
                if name in self.runs:
                    causes[name] = causes[teacher]
                    left.append(name)
        blocked = [name for name in causes if name in self.runs and name not in failed]
        for name in sorted(blocked, key=lambda name: self.runs[name][0]):
            del self.runs[name]
            yield Blocked(name, causes[name])

    def _make_ready(self, name: str) -> None:
        if name not in self.runs:  # blocked meanwhile
            return
        place, run = self.runs[name]
        key = cohort_key(run) if self.cohorts else name
        self.ready.setdefault(key, {})[place] = run
        heappush(self.heap, (place, key))
