"""One run in a worker: its result, its failure, and what is not trained twice."""

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kdbench.spec.events import Done, Elsewhere, Event, Failed, Task, Update
from kdbench.spec.runs import Recipe, Run, Teacher
from kdbench.store.lease import Watch, take
from kdbench.store.records import index, load_failure, load_result
from kdbench.store.weights import weights_there
from kdbench.training.context import TrainingContext
from kdbench.training.task import do
from tests.support.build import CE, KD
from tests.support.training import digits as run_on_digits
from tests.support.training import ends

RECIPE = Recipe(epochs=2, batch_size=32, lr=0.05, train_size=64, test_size=64)
DIVERGING = 1e30
"""A rate at which nothing is left after a step."""
digits = partial(run_on_digits, recipe=RECIPE)


def end(context: TrainingContext, run: Run, **options: Any) -> Event:  # noqa: ANN401 - a Task's
    """How a run ended."""
    [event] = ends(context, [run], **options)
    return event


def failing(context: TrainingContext, run: Run) -> Failed:
    event = end(context, run)
    assert isinstance(event, Failed)
    return event


def done(context: TrainingContext, run: Run, **options: Any) -> Done:  # noqa: ANN401 - a Task's
    event = end(context, run, **options)
    assert isinstance(event, Done)
    return event


def test_task_keeps_its_result(context: TrainingContext) -> None:
    run = digits()
    event = done(context, run)
    assert event.trained
    assert load_result(index(context.machine.results).results[run.id]) == event.result
    assert Path(event.path).name == f"digits_mlp-ce.s0.{run.id}.json"


def test_task_emits_each_epoch(context: TrainingContext) -> None:
    emitted: list[Event] = []
    run = digits()
    result = done(context, run).result
    do([Task(run, rerun=True)], context, emitted.append)
    updates = [each for each in emitted if isinstance(each, Update)]
    assert [(each.id, each.epoch, each.top1) for each in updates] == [
        (run.id, 1, result.curve.top1[0]),
        (run.id, 2, result.curve.top1[1]),
    ]
    assert all(each.images_per_second > 0 for each in updates)


def test_task_leaves_no_checkpoint(context: TrainingContext) -> None:
    run = digits()
    done(context, run)
    assert not (context.machine.scratch / "checkpoints" / run.id).exists()


@pytest.mark.parametrize(("seconds", "syncs"), [(3600.0, 3), (0.0, 19)])
def test_only_what_took_long_is_synced_beside_the_result(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch, seconds: float, syncs: int
) -> None:
    """3: the hold on the run, the record and its folder; files of seconds' work have their digests."""
    local = replace(context.machine.local, checkpoint_seconds=seconds)
    context.machine = replace(context.machine, local=local)
    context.data.named("digits")  # packed and synced, once
    threads: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: threads.append(threading.current_thread().name))
    done(context, digits(lr=0.0))
    assert sum(not name.startswith("lease") for name in threads) == syncs  # the hold may beat in its own


def test_next_run_of_the_same_images_has_them_padded_already(context: TrainingContext) -> None:
    done(context, digits(crop=1))
    [first] = context.kept.padded_images.values()
    done(context, replace(digits(crop=1), seed=1))
    assert list(context.kept.padded_images.values()) == [first]
    done(context, digits(crop=2))
    [other] = context.kept.padded_images.values()
    assert other.pixels.numel() > first.pixels.numel()


def test_images_of_some_classes_are_not_those_of_the_run_before(context: TrainingContext) -> None:
    done(context, digits(crop=1))
    [first] = context.kept.padded_images.values()
    done(context, digits(crop=1, transfer_classes=(1, 2)))
    [other] = context.kept.padded_images.values()
    assert other.pixels.numel() < first.pixels.numel()


def test_run_with_a_result_is_not_trained_again(context: TrainingContext) -> None:
    first, second = (done(context, digits()) for _ in range(2))
    assert (first.trained, second.trained) == (True, False)
    assert (second.result, second.path) == (first.result, first.path)


def test_run_that_another_process_trains_is_left_to_it(context: TrainingContext) -> None:
    run = digits()
    lease = take(context.machine.scratch / "locks" / run.id, Watch())
    assert lease is not None
    with lease:
        assert end(context, run) == Elsewhere(run.id)
    assert done(context, run).trained


def test_run_whose_weights_are_gone_is_trained_again(context: TrainingContext) -> None:
    run = digits()
    done(context, run)
    assert done(context, run, keep=(1,)).trained
    assert weights_there(context.machine.scratch, run.id, [1])


def test_again_keeps_a_repeat_beside_the_first(context: TrainingContext) -> None:
    run = digits()
    first = done(context, run)
    content = Path(first.path).read_bytes()
    repeats = [done(context, run, rerun=True) for _ in range(2)]
    there = index(context.machine.results)
    assert Path(first.path).read_bytes() == content
    assert [str(path) for path in there.repeats[run.id]] == [each.path for each in repeats]
    assert {each.result.curve.top1 for each in repeats} == {first.result.curve.top1}


def test_failure_is_stored_with_its_cause(context: TrainingContext) -> None:
    run = digits(lr=DIVERGING)
    event = failing(context, run)
    stored = load_failure(index(context.machine.results).failures[run.id])
    assert stored == event.failure
    assert stored.cause.startswith("diverged at epoch 1, step 2: the loss is")


def test_trial_that_fails_leaves_nothing_outside_the_folder_of_trials(context: TrainingContext) -> None:
    run = digits(lr=DIVERGING)
    assert isinstance(end(context, run, trial=True), Failed)
    results = context.machine.results
    assert [path.name for path in results.iterdir()] == ["trials"]
    assert index(results).failures[run.id].parent == results / "trials" / "digits"
    assert "/trials/digits/logs/" in load_failure(index(results).failures[run.id]).log


def test_failure_leaves_the_traceback_in_its_log(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(context.machine.root)
    run = digits(lr=DIVERGING)
    failure = failing(context, run).failure
    assert failure.log == f"results/digits/logs/digits_mlp-ce.s0.{run.id}.log"
    log = Path(failure.log).read_text("utf-8")
    assert log.startswith("Traceback")
    assert log.endswith(f"DivergedError: {failure.cause}\n")


def test_failure_of_our_own_names_its_kind(context: TrainingContext) -> None:
    """An error that no message explains to a user."""
    cause = failing(context, replace(digits(), loss=replace(CE, params={"alpha": 1.0}))).failure.cause
    assert cause.startswith("TypeError: ce() got an unexpected keyword argument")


def test_failure_for_want_of_a_teacher_names_its_run(context: TrainingContext) -> None:
    teacher = digits()
    run = replace(digits(), loss=KD, teacher=Teacher(teacher, 2))
    cause = failing(context, run).failure.cause
    assert cause.startswith(f"the weights of digits_mlp-ce (run {teacher.id}, epoch 2) are not in")


def test_unknown_model_is_a_failure(context: TrainingContext) -> None:
    assert (
        "unknown model 'digits_mlq'"
        in failing(context, replace(digits(), student="digits_mlq")).failure.cause
    )


def test_success_removes_an_earlier_failure(context: TrainingContext) -> None:
    teacher = digits()
    student = replace(digits(), loss=KD, teacher=Teacher(teacher, 2))
    failing(context, student)
    done(context, teacher, keep=(2,))
    done(context, student)
    there = index(context.machine.results)
    assert there.failures == {}
    assert there.results.keys() == {teacher.id, student.id}


def test_failed_run_does_not_stop_the_next(context: TrainingContext) -> None:
    failing(context, digits(lr=DIVERGING))
    assert done(context, digits()).trained


def test_damaged_result_is_a_failure(context: TrainingContext) -> None:
    run = digits()
    Path(done(context, run).path).write_text("{", "utf-8")
    assert "no valid result" in failing(context, run).failure.cause


@pytest.mark.parametrize("folder", ["results", "scratch"])
def test_folder_that_cannot_be_written_is_a_failure(context: TrainingContext, folder: str) -> None:
    Path(context.machine.root, folder).write_text("a file where a folder should be", "utf-8")
    failing(context, digits())


def test_interrupt_is_no_failure(context: TrainingContext) -> None:
    """It ends the process: the run has neither result nor failure, but a checkpoint to go on from."""

    def stop(_: Event) -> None:
        raise KeyboardInterrupt

    run = digits()
    with pytest.raises(KeyboardInterrupt):
        do([Task(run)], context, stop)
    there = index(context.machine.results)
    assert not there.results
    assert not there.failures
    assert list((context.machine.scratch / "checkpoints" / run.id).glob("1.*.safetensors"))
    assert done(context, run).trained


def test_trial_lies_apart_where_git_sees_nothing_and_is_found(context: TrainingContext) -> None:
    run = digits()
    results = context.machine.results
    assert Path(done(context, run, trial=True).path).parent == results / "trials" / "digits"
    assert (results / "trials" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert list(index(results).results) == [run.id]
    assert index(results, trials=False).results == {}
    assert not done(context, run, trial=True).trained
