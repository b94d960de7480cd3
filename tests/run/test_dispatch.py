"""Who is started when, and what a failure stops; with an executor that trains nothing."""

from collections.abc import Collection, Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.run.dispatch import Executor, dispatch
from kdbench.spec.events import Blocked, Done, Failed, RunEvent, Update
from kdbench.spec.runs import Run
from tests.support.build import CE, KD, make_run
from tests.support.counting import calls
from tests.support.dispatch import Instant

TEACHER = make_run("resnet18", loss=CE)
STUDENT = make_run("mobilenetv2", loss=KD, teacher=TEACHER)
GRANDCHILD = make_run("shufflenetv2", loss=KD, teacher=STUDENT)
OTHER = make_run("googlenet", loss=CE, seed=9)


def dispatched(runs: Sequence[Run], executor: Executor, *, rerun: bool = False) -> list[RunEvent]:
    return list(dispatch(runs, executor, keep={TEACHER.id: {1, "best"}}, rerun=rerun))


def ends(events: Sequence[RunEvent]) -> dict[str, type[RunEvent]]:
    """How each run ended, if it did exactly once."""
    last = [(event.id, type(event)) for event in events if not isinstance(event, Update)]
    assert len(last) == len(dict(last))
    return dict(last)


def test_nothing_to_train_tells_nothing() -> None:
    assert dispatched([], Instant()) == []


def test_student_starts_when_its_teacher_has_ended() -> None:
    executor = Instant(workers=3)
    dispatched([TEACHER, STUDENT, GRANDCHILD], executor)
    names = [TEACHER.id, STUDENT.id, GRANDCHILD.id]
    assert executor.diary == [(what, name) for name in names for what in ("start", "end")]


def test_student_of_a_stored_teacher_starts_at_once() -> None:
    assert ends(dispatched([STUDENT], Instant())) == {STUDENT.id: Done}


def test_student_does_not_wait_for_runs_it_does_not_need() -> None:
    executor = Instant(workers=2)
    dispatched([TEACHER, OTHER, STUDENT], executor)
    assert executor.diary.index(("start", STUDENT.id)) < executor.diary.index(("end", OTHER.id))


def test_free_slot_is_used_by_a_later_run() -> None:
    executor = Instant(workers=2)
    dispatched([TEACHER, STUDENT, OTHER], executor)
    assert executor.diary[:2] == [("start", TEACHER.id), ("start", OTHER.id)]


def test_no_more_runs_than_slots() -> None:
    executor = Instant(workers=2)
    dispatched([make_run(seed=seed, loss=CE) for seed in range(5)], executor)
    running = [sum(1 if what == "start" else -1 for what, _ in executor.diary[: n + 1]) for n in range(10)]
    assert max(running) == 2


def test_failure_blocks_all_who_learn_from_it() -> None:
    events = dispatched([TEACHER, STUDENT, GRANDCHILD, OTHER], Instant(failing=[TEACHER]))
    assert ends(events) == {TEACHER.id: Failed, STUDENT.id: Blocked, GRANDCHILD.id: Blocked, OTHER.id: Done}


def test_blocked_names_the_run_that_failed() -> None:
    events = dispatched([TEACHER, STUDENT, GRANDCHILD], Instant(failing=[STUDENT]))
    assert events[-1] == Blocked(GRANDCHILD.id, STUDENT.id)
    events = dispatched([TEACHER, STUDENT, GRANDCHILD], Instant(failing=[TEACHER]))
    assert events[-1] == Blocked(GRANDCHILD.id, TEACHER.id)


def test_blocked_run_is_never_started() -> None:
    executor = Instant(workers=3, failing=[TEACHER])
    dispatched([TEACHER, STUDENT], executor)
    assert [task.run for task in executor.tasks] == [TEACHER]


def test_epochs_are_told_as_they_come() -> None:
    assert dispatched([OTHER], Instant())[0] == Update(OTHER.id, 1, 10.0, 100.0)


@pytest.mark.parametrize("rerun", [False, True])
def test_task_carries_what_must_be_kept(*, rerun: bool) -> None:
    executor = Instant()
    dispatched([TEACHER, STUDENT], executor, rerun=rerun)
    first, second = executor.tasks
    assert (set(first.keep), set(second.keep)) == ({1, "best"}, set())
    assert (first.rerun, second.rerun) == (rerun, rerun)


def test_runs_start_only_when_somebody_listens() -> None:
    executor = Instant(workers=2)
    events = dispatch([TEACHER, OTHER], executor, keep={})
    assert executor.tasks == []
    next(events)
    assert len(executor.tasks) == 2


@st.composite
def families(draw: st.DrawFn) -> list[Run]:
    """Up to ten runs, each taught by nobody or by one before it."""
    runs: list[Run] = []
    for seed in range(draw(st.integers(0, 10))):
        teacher = draw(st.sampled_from([None, *runs]))
        runs.append(make_run(seed=seed, loss=KD if teacher else CE, teacher=teacher))
    return runs


def doomed(run: Run, failing: Collection[str]) -> bool:
    """Whether a run fails, or one that it depends on."""
    return run.id in failing or (run.teacher is not None and doomed(run.teacher.run, failing))


@given(st.data(), families(), st.integers(1, 4), st.sampled_from([0, -1]))
def test_every_run_ends_as_it_must(data: st.DataObject, runs: list[Run], workers: int, ending: int) -> None:
    failing = data.draw(st.lists(st.sampled_from(runs), unique_by=id)) if runs else []
    executor, names = Instant(workers, failing, ending), {run.id for run in failing}
    ended = ends(dispatched(runs, executor))
    assert ended.keys() == {run.id for run in runs}
    for run in runs:
        taught_by_nobody = run.teacher is not None and doomed(run.teacher.run, names)
        assert ended[run.id] is (Blocked if taught_by_nobody else Failed if run.id in names else Done)


@given(families(), st.integers(1, 4), st.sampled_from([0, -1]))
def test_no_run_starts_before_its_teacher_has_ended(runs: list[Run], workers: int, ending: int) -> None:
    executor = Instant(workers, (), ending)
    dispatched(runs, executor)
    for number, (what, name) in enumerate(executor.diary):
        teacher = next(run.teacher for run in runs if run.id == name)
        if what == "start" and teacher is not None:
            assert ("end", teacher.run.id) in executor.diary[:number]


def test_runs_of_a_trial_are_told_to_lie_apart() -> None:
    executor = Instant()
    list(dispatch([TEACHER, STUDENT], executor, keep={}, trials={STUDENT.id}))
    assert [task.trial for task in executor.tasks] == [False, True]


@pytest.mark.parametrize(("cohorts", "failing"), [(True, True), (False, False)])
def test_work_grows_with_the_number_of_runs_and_no_faster(*, cohorts: bool, failing: bool) -> None:
    def work(teachers: int) -> int:
        runs = [make_run("resnet18", seed, CE) for seed in range(teachers)]
        students = ("mobilenetv2", "shufflenetv2", "vgg8")
        runs += [make_run(student, run.seed, KD, run) for student in students for run in runs]
        bad = runs[:teachers:2] if failing else []
        return calls(lambda: list(dispatch(runs, Instant(2, bad), keep={}, cohorts=cohorts))).all

    work(10)  # what is done once, is done
    assert work(120) / work(30) < 4.5


def test_seeds_of_tiny_networks_wait_for_no_worker_but_are_handed_out_by_hundreds() -> None:
    """450 of them for two workers: two cohorts at once, the third one when one of these has ended."""
    runs = [make_run("logistic", seed, CE) for seed in range(450)]
    executor = Instant(2)
    assert len(ends(dispatched(runs, executor))) == 450
    assert [len(cohort) for cohort in executor.cohorts] == [200, 200, 50]
    assert list(chain(*executor.cohorts)) == runs
