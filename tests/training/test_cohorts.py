"""Who is trained beside whom; that it changes no number; and that one run's end is no other's."""

from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kdbench.errors import DivergedError
from kdbench.plan.cohorts import batch_stream_key, make_cohorts
from kdbench.run.dispatch import dispatch
from kdbench.spec.events import Done, Elsewhere, Event, Failed, Task, Update
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Run, Teacher
from kdbench.store.lease import Watch, take
from kdbench.store.records import index
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from kdbench.training.task import do
from tests.support.build import KD
from tests.support.dispatch import Instant
from tests.support.marks import slow_but
from tests.support.training import (
    RECIPE,
    SETTINGS,
    TEACHER,
    Interrupted,
    Opened,
    digits,
    ends,
    forwards,
    interrupted,
    numbers,
    together,
)

DIVERGING = 1e30
"""A rate at which nothing is left after a step."""


pytestmark = pytest.mark.usefixtures("digits_dropout")
STUDENTS = [
    digits("digits_dropout", KD, TEACHER),
    digits("digits_mlp", KD, TEACHER, lr=0.02, optimizer="adam"),
    digits("digits_dropout", Loss("fnkd", {"lam": 3.0, "tau": 2.0}), TEACHER),
    digits("digits_cnn", KD, TEACHER),
]


MANY = [TEACHER, *STUDENTS, digits(epochs=1), digits(lr=1.0)]


Alone = Callable[[Run], object]
ALONE: dict[str, object] = {}
"""By run: its numbers, trained alone once for all tests of this file."""


@pytest.fixture
def alone(with_teacher: Opened) -> Alone:
    """The numbers of a run of `STUDENTS` that was trained alone."""

    def of(run: Run) -> object:
        if run.id not in ALONE:
            ALONE[run.id] = numbers(train(run, with_teacher("alone")))
        return ALONE[run.id]

    return of


def test_students_of_one_teacher_are_a_cohort() -> None:
    assert make_cohorts([TEACHER, *STUDENTS]) == [(TEACHER,), tuple(STUDENTS)]


@pytest.mark.parametrize(
    "other",
    [
        digits("digits_mlp", KD, TEACHER, batch_size=16),
        digits("digits_mlp", KD, TEACHER, epochs=4),
        digits("digits_mlp", KD, TEACHER, crop=2),
        digits("digits_mlp", KD, TEACHER, flip=False),
        digits("digits_mlp", KD, TEACHER, rotation=0.0),
        digits("digits_mlp", KD, TEACHER, train_size=95),
        digits("digits_mlp", KD, TEACHER, normalize="digits"),
        replace(STUDENTS[0], seed=1),
        replace(STUDENTS[0], teacher=Teacher(TEACHER, 1)),
        replace(STUDENTS[0], teacher=Teacher(digits("digits_mlp"), 3)),
        digits("digits_mlp"),
    ],
    ids=lambda run: run.id,
)
def test_runs_that_see_or_hear_something_else_are_no_cohort(other: Run) -> None:
    assert len(make_cohorts([STUDENTS[0], other])) == 2


@pytest.mark.parametrize(
    "settings", [{"lr": 0.01}, {"optimizer": "adam"}, {"milestones": (2,)}, {"test_size": 9}, {"ema": 0.9}]
)
def test_runs_that_learn_otherwise_are_a_cohort(settings: dict[str, Any]) -> None:
    assert len(make_cohorts([STUDENTS[0], digits("digits_mlp", KD, TEACHER, **settings)])) == 1


@pytest.mark.parametrize(
    ("runs", "workers", "sizes"),
    [(4, 1, [4]), (4, 2, [2, 2]), (5, 2, [3, 2]), (4, 3, [1, 1, 2]), (2, 8, [1, 1]), (0, 2, [])],
)
def test_cohorts_are_split_so_that_no_worker_idles(runs: int, workers: int, sizes: list[int]) -> None:
    some = [digits(lr=0.01 * (1 + number)) for number in range(runs)]
    assert [len(cohort) for cohort in make_cohorts(some, workers)] == sizes


@given(
    st.lists(st.sampled_from(MANY), unique_by=id),
    st.integers(1, 6),
)
def test_every_run_is_in_one_cohort_of_its_like(runs: list[Run], workers: int) -> None:
    cohorts = make_cohorts(runs, workers)
    assert sorted(run.id for cohort in cohorts for run in cohort) == sorted(run.id for run in runs)
    assert all(len({batch_stream_key(run) for run in cohort}) == 1 for cohort in cohorts)
    assert len(cohorts) >= min(workers, len(runs))


def test_dispatch_hands_out_cohorts() -> None:
    executor = Instant(workers=2)
    list(dispatch([TEACHER, *STUDENTS], executor, keep={}))
    assert executor.cohorts == [[TEACHER], STUDENTS[:2], STUDENTS[2:]]


def test_dispatch_without_cohorts_hands_out_single_runs() -> None:
    executor = Instant(workers=2)
    list(dispatch([TEACHER, *STUDENTS], executor, keep={}, cohorts=False))
    assert executor.cohorts == [[run] for run in [TEACHER, *STUDENTS]]


def test_each_run_is_as_alone_bit_for_bit(with_teacher: Opened, alone: Alone) -> None:
    """With dropout, another optimizer, a network of its own and a loss of features among them."""
    beside = together(STUDENTS, with_teacher("together"))
    assert [numbers(beside[run.id]) for run in STUDENTS] == list(map(alone, STUDENTS))


@pytest.mark.parametrize("name", slow_but(["randaugment", "validation_size"], SETTINGS))
def test_each_setting_is_as_alone_beside_others(with_teacher: Opened, name: str) -> None:
    """Beside a run that draws, of the same batches."""
    settings = {"epochs": 2, **SETTINGS[name]}
    runs = [digits(student, KD, TEACHER, **settings) for student in ("digits_mlp", "digits_dropout")]
    context = with_teacher("alone")
    alone = [numbers(train(run, context)) for run in runs]
    assert len(make_cohorts(runs)) == 1
    assert [numbers(end) for end in together(runs, with_teacher("together")).values()] == alone


def test_runs_without_a_teacher_are_as_alone_too(with_teacher: Opened) -> None:
    runs = [digits("digits_dropout", epochs=1), digits("digits_mlp", epochs=1, lr=0.01)]
    context = with_teacher("alone")
    alone = [numbers(train(run, context)) for run in runs]
    assert [numbers(end) for end in together(runs, with_teacher("together")).values()] == alone


def test_teacher_is_asked_once_for_all(with_teacher: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    context, seen = with_teacher("here"), forwards("digits_cnn", monkeypatch)
    together(STUDENTS[:3], context)
    assert seen == [False] * 3 * 3  # epochs, batches


def test_run_that_diverges_takes_no_other_with_it(with_teacher: Opened, alone: Alone) -> None:
    bad = replace(STUDENTS[1], recipe=replace(RECIPE, lr=DIVERGING))
    beside = together([bad, STUDENTS[0]], with_teacher("together"))
    assert isinstance(beside[bad.id], DivergedError)
    assert numbers(beside[STUDENTS[0].id]) == alone(STUDENTS[0])


def test_run_that_raises_takes_no_other_with_it(with_teacher: Opened, alone: Alone) -> None:
    """In the middle of an epoch, before the others' step."""
    bad = replace(STUDENTS[1], loss=Loss("kd", {"alpha": 1.0, "tau": 4.0, "beta": 1.0}))
    beside = together([bad, STUDENTS[0]], with_teacher("together"))
    assert isinstance(beside[bad.id], TypeError)
    assert numbers(beside[STUDENTS[0].id]) == alone(STUDENTS[0])


def test_run_that_cannot_be_made_takes_no_other_with_it(with_teacher: Opened) -> None:
    bad, context = replace(STUDENTS[1], student="digits_mlq"), with_teacher("here")
    failed, done = ends(context, [bad, STUDENTS[0]])
    assert isinstance(failed, Failed)
    assert isinstance(done, Done)
    assert index(context.machine.results).failures.keys() == {bad.id}


def test_failure_is_told_before_the_others_end(with_teacher: Opened) -> None:
    emitted: list[Event] = []
    bad = replace(STUDENTS[1], recipe=replace(RECIPE, lr=DIVERGING))
    do([Task(STUDENTS[0]), Task(bad)], with_teacher("here"), emitted.append)
    assert [type(event) for event in emitted] == [Update, Failed, Update, Update, Done]


def test_interrupted_cohort_goes_on_as_never_interrupted(with_teacher: Opened, alone: Alone) -> None:
    """Interrupted when two runs are an epoch further than the third."""
    calls, context = count(1), with_teacher("halved")

    def stop(*_: object) -> None:
        if next(calls) == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        together(STUDENTS[:3], context, watch=stop)
    ended = together(STUDENTS[:3], context)
    assert [numbers(ended[run.id]) for run in STUDENTS[:3]] == list(map(alone, STUDENTS[:3]))


def test_run_of_an_interrupted_cohort_goes_on_alone(with_teacher: Opened, alone: Alone) -> None:
    seen, context = [], with_teacher("halved")

    def stop(run: Run, _: object) -> None:
        if run == STUDENTS[1]:
            raise Interrupted

    with pytest.raises(Interrupted):
        together(STUDENTS[:2], context, watch=stop)
    result = train(STUDENTS[0], context, watch=lambda progress: seen.append(progress.epoch))
    assert seen == [2, 3]
    assert numbers(result) == alone(STUDENTS[0])


def test_runs_that_are_further_do_nothing_twice(with_teacher: Opened) -> None:
    context, seen = interrupted(STUDENTS[0], with_teacher("here"), 2), []
    together(STUDENTS[:2], context, watch=lambda run, progress: seen.append((run.id, progress.epoch)))
    first, second = STUDENTS[0].id, STUDENTS[1].id
    assert seen == [(second, 1), (second, 2), (first, 3), (second, 3)]


def test_run_that_another_process_trains_leaves_the_cohort(with_teacher: Opened) -> None:
    context = with_teacher("here")
    emitted: list[Event] = []
    lease = take(context.machine.scratch / "locks" / STUDENTS[0].id, Watch())
    assert lease is not None
    with lease:
        do([Task(run) for run in STUDENTS[:2]], context, emitted.append)
    assert emitted[0] == Elsewhere(STUDENTS[0].id)
    assert [event.id for event in emitted if isinstance(event, Done)] == [STUDENTS[1].id]


def test_run_that_is_stored_is_not_trained_again(with_teacher: Opened) -> None:
    context = with_teacher("here")
    ends(context, STUDENTS[:1])
    assert [end.trained for end in ends(context, STUDENTS[:2]) if isinstance(end, Done)] == [False, True]


def test_result_has_the_size_of_its_cohort_and_its_part_of_the_seconds(with_teacher: Opened) -> None:
    context, started = with_teacher("here"), perf_counter()
    results = [end for end in together(STUDENTS[:3], context).values() if isinstance(end, Result)]
    whole = perf_counter() - started
    assert [result.environment["cohort"] for result in results] == [3, 3, 3]
    assert 0 < sum(result.seconds for result in results) <= whole


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Steps of more than `most` runs beside each other fail for want of memory; the cohorts' sizes."""
    sizes: list[int] = []
    begin = StudentRun.begin

    def limited(self: StudentRun, epoch: int) -> None:
        sizes.append(self.size)
        if self.size > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        begin(self, epoch)

    monkeypatch.setattr(StudentRun, "begin", limited)
    return sizes


@pytest.mark.slow
def test_cohort_that_runs_out_of_memory_is_halved(
    with_teacher: Opened, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, wanted = with_teacher("here"), list(map(alone, STUDENTS[:3]))
    sizes = short_of_memory(monkeypatch, most=1)
    emitted = ends(context, STUDENTS[:3])
    assert list(dict.fromkeys(sizes)) == [3, 2, 1]
    assert [numbers(end.result) for end in emitted if isinstance(end, Done)] == wanted


def test_run_that_runs_out_of_memory_alone_has_failed(
    with_teacher: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, most=0)
    emitted = ends(with_teacher("here"), STUDENTS[:2])
    causes = [end.failure.cause for end in emitted if isinstance(end, Failed)]
    assert len(causes) == 2
    assert all(cause.startswith("RuntimeError: DefaultCPUAllocator: can't allocate") for cause in causes)


def test_cohort_is_cut_to_fit_the_memory_of_benchmark_toml(with_teacher: Opened) -> None:
    """Less than torch itself takes: every run is tried alone, and none is left out."""
    emitted = ends(with_teacher("here", memory_gib=0.1), STUDENTS[:2])
    assert [end.result.environment["cohort"] for end in emitted if isinstance(end, Done)] == [1, 1]
