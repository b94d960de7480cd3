"""What Hinton's rows need: transfer sets of some classes, biases, max-norm, a teacher that is asked once."""

from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.plan.cohorts import batch_stream_key
from kdbench.spec.runs import Loss, Recipe, Run
from kdbench.store.predictions import accuracy_by_class
from kdbench.training import recorded, teacher_batches
from kdbench.training.context import TrainingContext
from kdbench.training.images import training_labels, training_views
from kdbench.training.optim import limit_norms
from kdbench.training.run import train
from kdbench.training.teacher_batches import TeacherBatches
from tests.support.training import digits, forwards, numbers

KD = Loss("hinton_kd", {"alpha": 0.9, "tau": 4.0})
PLAIN: dict[str, Any] = {"crop": 0, "flip": False, "rotation": 0.0}


def test_transfer_set_has_the_images_of_its_classes_alone(context: TrainingContext) -> None:
    run = digits(transfer_classes=(7, 8), train_size=0)
    data = context.data.of(run)
    views = training_views(run, data, context)
    kept = int(((data.train_labels == 7) | (data.train_labels == 8)).sum())
    seen = torch.cat([labels for _, labels, _ in views.epoch(1)])
    assert len(seen) == kept < len(data.train_labels)
    assert set(seen.tolist()) == {7, 8}
    assert training_labels(run, data).sort().values.equal(seen.sort().values)


def test_transfer_set_after_a_run_of_all_classes_has_its_own_images(context: TrainingContext) -> None:
    """One process trains both: what it keeps of the images of the one is not taken for the other's."""
    data = context.data.of(digits())
    for run in (digits(**PLAIN), digits(**PLAIN, transfer_classes=(7, 8))):
        views = training_views(run, data, context)
        classes = run.recipe.transfer_classes or tuple(range(10))
        first = data.train_labels[:96]
        images = data.train_images[:96][torch.isin(first, torch.tensor(classes))]
        expected = {tuple(image.flatten().tolist()) for image in images}
        table = views.normalise.table  # type: ignore[attr-defined]
        levels = {round(float(value), 4): level for level, value in enumerate(table)}
        for x, _, _ in views.epoch(1):
            for image in x:
                assert tuple(levels[round(float(value), 4)] for value in image.flatten()) in expected


def test_transfer_set_is_of_the_first_images_and_may_not_be_empty(context: TrainingContext) -> None:
    data = context.data.of(digits())
    few = digits(transfer_classes=(3,), train_size=50)
    assert len(training_labels(few, data)) == int((data.train_labels[:50] == 3).sum())
    first = int(data.train_labels[0])
    with pytest.raises(UserError, match=r"none of its 1 training images is of the transfer_classes"):
        training_labels(digits(transfer_classes=((first + 1) % 10,), train_size=1), data)


def test_runs_of_other_transfer_sets_see_other_batches() -> None:
    all_classes, some = digits(), digits(transfer_classes=(1, 2))
    assert batch_stream_key(all_classes) != batch_stream_key(some)
    assert batch_stream_key(all_classes) == batch_stream_key(digits(bias=((1, 2.0),)))


def test_bias_changes_what_is_predicted_and_nothing_that_is_trained(context: TrainingContext) -> None:
    plain, biased = (train(digits(epochs=1, bias=bias), context) for bias in ((), ((3, 1e4),)))
    assert plain.weights == biased.weights
    assert plain.curve.train_loss == biased.curve.train_loss
    labels = context.data.of(digits()).test_labels[:100]
    assert biased.last == pytest.approx(100 * float((labels == 3).double().mean()))
    assert biased.by_class == tuple(100.0 * (of == 3) for of in range(10))
    assert plain.by_class == ()


def test_accuracy_by_class_is_of_each_class_own_images() -> None:
    assert accuracy_by_class([0, 1, 1, 2], [0, 1, 0, 2], 4) == (50.0, 100.0, 100.0, 0.0)


def test_accuracy_by_class_of_a_run_adds_up_to_its_accuracy(context: TrainingContext) -> None:
    run = digits(transfer_classes=(0, 1, 2, 4), epochs=10)
    result = train(run, context)
    labels = context.data.of(run).test_labels[:100]
    images = torch.bincount(labels, minlength=10).double()
    right = images @ torch.tensor(result.by_class, dtype=torch.float64) / 100
    assert float(right) == pytest.approx(result.last)
    assert result.by_class[3] == 0.0 < result.by_class[0]


def test_limit_norms_scales_down_what_goes_into_a_unit() -> None:
    weights = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    filters = torch.full((1, 2, 2, 2), 2.0)
    biases = torch.tensor([9.0])
    limit_norms([weights, filters, biases], 2.5)
    torch.testing.assert_close(weights, torch.tensor([[1.5, 2.0], [0.3, 0.4], [0.0, 0.0]]))
    torch.testing.assert_close(filters.norm(), torch.tensor(2.5))
    assert biases.tolist() == [9.0]


def largest_norm(run: Run, context: TrainingContext) -> float:
    network = context.teacher(digits(loss=KD, teacher=run))
    assert network is not None
    return max(float(each.flatten(1).norm(dim=1).max()) for each in network.parameters() if each.dim() > 1)


@pytest.mark.parametrize("student", ["digits_mlp", "digits_cnn"])
def test_max_norm_holds_after_every_step(context: TrainingContext, student: str) -> None:
    free, held = digits(student, epochs=1), digits(student, epochs=1, max_norm=0.5)
    train(free, context)
    train(held, context)
    assert largest_norm(free, context) > 0.6
    assert largest_norm(held, context) <= 0.5 + 1e-6


def logits_of(run: Run, context: TrainingContext) -> list[Tensor]:
    views = training_views(run, context.data.of(run), context)
    batches = TeacherBatches([run], views, context).epoch(2)
    return [batch.taught.logits for batch in batches if batch.taught is not None]


@pytest.mark.parametrize(("settings", "times"), [(PLAIN, 1), ({}, 4)])
def test_large_teacher_of_images_that_never_change_is_asked_about_each_once(
    settings: dict[str, Any], times: int, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_batches, "QUICK", 0)
    monkeypatch.setattr(recorded, "SMALL", 0)  # each step calls the network
    teacher = digits("digits_mlp", **settings)
    student = digits("digits_mlp", KD, teacher, **settings, epochs=4)
    train(teacher, context)
    seen = forwards("digits_mlp", monkeypatch)
    result = train(student, context)
    of_teacher = len(seen) - 3 * 4 - 4 * 2  # without the student's steps and its tests
    assert of_teacher == 3 * times
    assert result.curve.train_loss[-1] < result.curve.train_loss[0]


def test_teacher_that_is_asked_once_answers_as_in_each_epoch(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = digits("digits_mlp", **PLAIN)
    student = digits("digits_mlp", KD, teacher, **PLAIN)
    train(teacher, context)
    each_epoch = logits_of(student, context)
    monkeypatch.setattr(teacher_batches, "QUICK", 0)
    for one, other in zip(logits_of(student, context), each_epoch, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("model", ["mlp_784_800_800", "mlp_784_1024_1024_dropout"])
def test_network_has_the_papers_layers(model: str) -> None:
    inputs, *hidden = map(int, model.removesuffix("_dropout").split("_")[1:])
    torch.manual_seed(0)
    network = catalog.load(catalog.MODELS[model].code)(10, 1)
    layers = [part for part in network.modules() if isinstance(part, torch.nn.Linear)]
    assert [layer.in_features for layer in layers] == [inputs, *hidden]
    dropped = [part.p for part in network.modules() if isinstance(part, torch.nn.Dropout)]
    assert dropped == ([0.2, 0.5, 0.5] if model.endswith("_dropout") else [])
    glorot = (2 / (inputs + hidden[0])) ** 0.5
    std = 0.01 if "1024" in model else glorot
    assert float(layers[0].weight.detach().std()) == pytest.approx(std, rel=0.02)
    assert not any(layer.bias.any() for layer in layers)


def test_settings_that_are_off_are_not_hashed() -> None:
    recipe = Recipe(epochs=1, batch_size=1, lr=1.0)
    off = replace(recipe, max_norm=0.0, transfer_classes=(), bias=())
    assert off.identity == recipe.identity
    assert digits(bias=((3, 3.5),)).id != digits().id


def test_run_with_these_settings_is_the_same_again(context: TrainingContext) -> None:
    run = digits(max_norm=1.0, transfer_classes=(1, 2, 3), bias=((2, 0.5),))
    assert numbers(train(run, context)) == numbers(train(run, context))
