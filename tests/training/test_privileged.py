"""Teacher and student on different views of the same points; subsets, passes, draws; checkpoints by time."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from kdbench import catalog
from kdbench.machine import Folders, Local, Machine
from kdbench.spec.events import Task
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.store.weights import checkpoints
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.images import chosen_images, training_views, validation_images
from kdbench.training.run import train, train_cohort
from kdbench.training.teacher_batches import TeacherBatches
from tests.support.build import CE, make_run
from tests.support.training import Opened, interrupted, numbers

RECIPE = Recipe(epochs=2, batch_size=64, lr=0.01, optimizer="rmsprop", passes=3, test_size=500)
KD = Loss("lopezpaz", {"T": 2.0, "lam": 0.5})


def synthetic(name: str, loss: Loss = CE, teacher: Run | None = None, **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    digest = catalog.DATASETS[name].digest
    run = replace(make_run("logistic", 1, loss), dataset=name, data=digest)
    return replace(run, recipe=replace(RECIPE, **settings), teacher=teacher and Teacher(teacher, 2))


TEACHER = synthetic("synthetic3_privileged")
STUDENT = synthetic("synthetic3", KD, TEACHER)


def test_teacher_answers_on_its_own_view_of_each_point(context: TrainingContext) -> None:
    train(TEACHER, context, keep=(2,))
    network = context.teacher(STUDENT)
    views = training_views(STUDENT, context.data.of(STUDENT), context)
    theirs = context.data.of(TEACHER).train_images
    indices = [index for number in (4, 5, 6) for _, _, index in views.epoch(number)]
    batches = list(TeacherBatches([STUDENT], views, context).epoch(2))
    assert network is not None
    assert len(batches) == len(indices) == 3 * 4
    for batch, index in zip(batches, indices, strict=True):
        assert batch.taught is not None
        torch.testing.assert_close(batch.taught.logits, network(theirs[index]).logits)
        assert batch.y.equal(context.data.of(TEACHER).train_labels[index])


@pytest.mark.slow
def test_student_learns_what_its_teacher_alone_can_see(context: TrainingContext) -> None:
    recipe: dict[str, Any] = {"epochs": 2, "passes": 100}
    teacher = synthetic("synthetic3_privileged", **recipe)
    teacher_top1 = train(teacher, context).last
    student = synthetic("synthetic3", KD, teacher, **recipe)
    alone = train(synthetic("synthetic3", **recipe), context).last
    assert alone < train(student, context).last < teacher_top1


def test_run_is_the_same_alone_and_in_company(context: TrainingContext) -> None:
    train(TEACHER, context, keep=(2,))
    other = replace(STUDENT, recipe=replace(STUDENT.recipe, draw=3))
    alone = [numbers(train(run, context)) for run in (STUDENT, other)]
    together = [numbers(end) for _, end in train_cohort([Task(STUDENT), Task(other)], context)]
    assert alone == together
    assert alone[0] != alone[1]


def test_passes_are_epochs_that_are_not_evaluated(context: TrainingContext) -> None:
    """Two epochs of three passes are six epochs of which the third and the sixth are seen."""
    one, six = TEACHER, synthetic("synthetic3_privileged", epochs=6, passes=0)
    few, many = train(one, context), train(six, context)
    assert few.curve.top1 == (many.curve.top1[2], many.curve.top1[5])


def chosen(run: Run) -> list[int]:
    index = chosen_images(run, torch.zeros(60_000))
    return [] if index is None else index.tolist()


def mnist(name: str, seed: int, **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    run = replace(make_run("mlp_49_20_20", seed, CE), dataset=name, data=catalog.DATASETS[name].digest)
    fields = {"epochs": 1, "batch_size": 128, "lr": 0.1, "subset": 300, **settings}
    return replace(run, recipe=Recipe(**fields))


def test_subset_is_drawn_for_each_seed_and_is_the_teachers_too() -> None:
    first = chosen(mnist("mnist_7x7", 0))
    assert len(set(first)) == 300
    assert all(one < other for one, other in pairwise(first))
    assert max(first) > 50_000
    assert first == chosen(mnist("mnist", 0))
    assert first != chosen(mnist("mnist", 1))


def test_subset_is_of_the_first_images_where_those_are_asked_for() -> None:
    assert chosen(mnist("mnist", 0, train_size=256)) == list(range(256))
    assert max(chosen(mnist("mnist", 0, train_size=1000))) < 1000


def test_short_run_has_no_checkpoint_before_its_end(opened: Opened) -> None:
    context = opened(checkpoint_seconds=10.0)
    folder = context.machine.scratch / "checkpoints" / TEACHER.id
    interrupted(TEACHER, context, 1)
    assert checkpoints(folder) == []
    train(TEACHER, context)
    assert [path.name.partition(".")[0] for path in checkpoints(folder)] == ["2"]


def test_best_weights_of_an_epoch_without_a_checkpoint_are_kept(tmp_path: Path) -> None:
    """Whenever checkpoints are written, the weights that are handed over are the same."""
    found = []
    for seconds in (0.0, 1e9):
        local = Local(device="cpu", checkpoint_seconds=seconds)
        machine = Machine(local=local, folders=Folders(), root=str(tmp_path / str(seconds)))
        found.append(train(synthetic("synthetic1", epochs=6), open_context(machine), keep=(2, 4)))
    assert numbers(found[0]) == numbers(found[1])
    assert set(found[1].weights) == {"2", "4", "6", "best"}
    assert found[0].predicted == found[1].predicted


def held_out(run: Run) -> set[int]:
    return set(validation_images(run, 60_000).tolist())


def test_held_out_images_are_those_of_their_own_seed_and_nobody_trains_on_them() -> None:
    """The same for every seed of a run, with a subset or without, and of the first `train_size` images."""
    settings = {"validation_size": 400, "train_size": 1000}
    runs = [mnist("mnist", seed, **settings, **more) for seed in (0, 1) for more in ({}, {"subset": 0})]
    assert [len(chosen(run)) for run in runs] == [300, 600, 300, 600]
    held = held_out(runs[0])
    assert len(held) == 400
    assert max(held) < 1000
    assert all(held_out(run) == held and held.isdisjoint(chosen(run)) for run in runs)
    assert held_out(mnist("mnist", 0, **settings, validation_seed=1)) != held
    assert chosen(runs[0]) != chosen(runs[2])


def test_no_more_than_half_of_the_images_are_held_out() -> None:
    """`--smoke` trains on the first 256."""
    run = mnist("mnist", 0, validation_size=400, train_size=256)
    assert len(held_out(run)) == 128
    assert len(chosen(run)) == 128
