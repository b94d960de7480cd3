"""A GPU held against the CPU: the same views and first weights in every bit, all else to rounding.

Each test runs on the CPU too, which is held against itself.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor
from torch.nn.functional import linear

from kdbench import catalog
from kdbench.data.views import Batch, Batching, Normalise, PaddedImages, Views
from kdbench.models.output import Output
from kdbench.spec.events import Task
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Precision, Run
from kdbench.training import images
from kdbench.training.bench import Prepared
from kdbench.training.context import TrainingContext
from kdbench.training.evaluation import evaluate
from kdbench.training.fingerprint import compute
from kdbench.training.images import training_views
from kdbench.training.objective import loss_function
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from kdbench.training.teacher_batches import TeacherBatches
from tests.support.build import CE, KD, make_run
from tests.support.devices import DEVICES
from tests.support.training import (
    TEACHER,
    Opened,
    digits,
    forwards,
    interrupted,
    numbers,
    open_digits,
    together,
)

STUDENTS = [digits("digits_mlp", KD, TEACHER), digits("digits_cnn", KD, TEACHER, lr=0.02)]
GRAPHED = [
    *STUDENTS,
    digits("digits_cnn", KD, TEACHER, nesterov=True, momentum=0.9, weight_decay=5e-4, clip_norm=0.5, ema=0.8),
    digits("digits_cnn", KD, TEACHER, optimizer="adam", momentum=0.0, lr=0.001, warmup_epochs=1),
    digits("digits_cnn", KD, TEACHER, optimizer="rmsprop", lr=0.001, weight_decay=5e-4, max_norm=1.0),
]
ROUNDING = 1e-3
"""How far losses may be apart, relatively, after an epoch of four steps."""

pytestmark = [pytest.mark.parametrize("device", DEVICES), pytest.mark.slow]
LOSSES = [Loss(name, dict(entry.starting_values)) for name, entry in catalog.LOSSES.items()]


@pytest.fixture
def opened(data: Path, tmp_path: Path) -> Opened:
    """Contexts on a device that share the data and nothing else."""

    def make(device: str, name: str = "here", **local: Any) -> TrainingContext:  # noqa: ANN401 - of benchmark.toml
        torch.set_deterministic_debug_mode("default")  # a context of the CPU sets it for the whole process
        return open_digits(tmp_path / f"{device}-{name}", data, device=device, **local)

    return make


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(first: Result, second: Result) -> None:
    """Two results of one run, to rounding."""
    assert first.id == second.id
    assert second.curve.train_loss[0] == pytest.approx(first.curve.train_loss[0], rel=ROUNDING)
    assert second.curve.test_loss[0] == pytest.approx(first.curve.test_loss[0], rel=ROUNDING)


@pytest.mark.parametrize("rotation", [0.0, 15.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_views_have_the_same_bits(device: str, channels: int, rotation: float) -> None:
    images = torch.randint(
        256, (150, channels, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )

    def epoch(where: str) -> list[tuple[Tensor, ...]]:
        there = torch.device(where)
        padded, normalise = (
            PaddedImages(images, 4, there),
            Normalise([0.5] * channels, [0.25] * channels, there),
        )
        views = Views(
            padded, torch.arange(150), Batching(64, there), normalise, seed=3, flip=True, rotation=rotation
        )
        return [tuple(part.cpu() for part in batch) for batch in views.epoch(2)]

    pairs = list(zip(epoch("cpu"), epoch(device), strict=True))
    assert len(pairs) == 3
    assert all(torch.equal(one, other) for pair in pairs for one, other in zip(*pair, strict=True))


@pytest.mark.parametrize("model", ["resnet18", "mobilenetv2", "shufflenetv2", "resnet20_v2"])
def test_network_starts_with_the_same_bits_and_computes_the_same(
    device: str, opened: Opened, model: str
) -> None:
    run = make_run(model, 5, CE)
    one, other = opened("cpu", "first").network(run), opened(device, "second").network(run)
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name].cpu(), value), name
    x = draw(8, 3, 32, 32)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        there = other.train()(x.to(device)).logits.cpu()
    torch.testing.assert_close(there, one.train()(x).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_loss_and_its_gradient_are_the_same(device: str, loss: Loss) -> None:
    entry, function = catalog.find("losses", loss.name), loss_function(loss)

    def output(where: str, seed: int) -> tuple[Tensor, Output]:
        features = draw(7, 64, seed=seed).abs().to(where).requires_grad_()
        weight, bias = draw(100, 64, seed=seed + 1).to(where), draw(100, seed=seed + 2).to(where)
        return features, Output(linear(features, weight, bias), features, weight, bias)

    def value(where: str) -> tuple[Tensor, Tensor]:
        features, student = output(where, 0)
        teacher = [output(where, 3)[1]] * entry.teacher
        near = [(draw(100, 100) > 1).to(torch.uint8).to(where)] * entry.neighbours
        found = function(student, torch.arange(7, device=where), *teacher, *near)
        found.backward()  # type: ignore[no-untyped-call]
        assert features.grad is not None
        return found.detach().cpu(), features.grad.cpu()

    for one, other in zip(value("cpu"), value(device), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


def results_in(
    *contexts: TrainingContext, runs: Sequence[Run] = tuple(STUDENTS)
) -> Iterator[tuple[Result, ...]]:
    """Of each student, trained beside the others in each of these contexts, after their teacher."""
    found = []
    for context in contexts:
        train(TEACHER, context)
        found.append(together(runs, context))
    for run in runs:
        results = tuple(ends[run.id] for ends in found)
        assert all(isinstance(result, Result) for result in results)
        yield cast("tuple[Result, ...]", results)


def test_graphs_give_what_operators_give(device: str, opened: Opened) -> None:
    """To the last bit, where the operators have the same bits each time."""
    contexts = [
        opened(device, name, deterministic=True, cuda_graphs=graphs)
        for name, graphs in (("usual", False), ("graphed", True))
    ]
    for usual, graphed in results_in(*contexts, runs=GRAPHED):
        assert numbers(graphed) == numbers(usual)
        assert graphed.environment.get("cuda_graphs", False) == (device == "cuda")


def test_cohort_learns_as_on_the_cpu(device: str, opened: Opened) -> None:
    for one, other in results_in(opened("cpu", "first"), opened(device, "second")):
        close(one, other)
        assert other.environment["device"] == device


def test_run_of_a_cohort_learns_as_alone(device: str, opened: Opened) -> None:
    context = opened(device)
    train(TEACHER, context)
    beside = together(STUDENTS, context)[STUDENTS[0].id]
    assert isinstance(beside, Result)
    alone = opened(device, "alone")
    train(TEACHER, alone)
    close(train(STUDENTS[0], alone), beside)


def test_evaluation_predicts_as_on_the_cpu(device: str, opened: Opened) -> None:
    found = []
    for context in (opened("cpu", "first"), opened(device, "second")):
        network = context.network(TEACHER)
        found.append(evaluate(TEACHER, network, context.data.named("digits"), context))
    assert found[1].loss == pytest.approx(found[0].loss, rel=ROUNDING)
    assert (found[1].predicted == found[0].predicted).float().mean() >= 0.99


def test_test_images_are_on_the_device_from_the_second_evaluation_on(device: str, opened: Opened) -> None:
    context = opened(device)
    data = context.data.named("digits")

    def evaluated() -> list[Batch]:
        tested = images.evaluation_set(TEACHER, data, context)
        return list(images.evaluation_batches(TEACHER, tested, context))

    first = evaluated()
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        second = evaluated()
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(first, second, strict=True):
        assert all(map(torch.equal, one, other))


def test_run_that_was_stopped_goes_on(device: str, opened: Opened) -> None:
    context = interrupted(TEACHER, opened(device), 2)
    resumed, whole = train(TEACHER, context), train(TEACHER, opened(device, "whole"))
    assert len(resumed.curve.train_loss) == TEACHER.recipe.epochs
    assert resumed.curve.train_loss == pytest.approx(whole.curve.train_loss, rel=ROUNDING)


def test_kept_logits_spare_the_teacher(device: str, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    context = opened(device)
    train(TEACHER, context)
    train(STUDENTS[0], context)
    asked = forwards("digits_cnn", monkeypatch)
    second = train(replace(STUDENTS[0], recipe=replace(STUDENTS[0].recipe, lr=0.01)), context)
    assert asked == []
    assert second.curve.train_loss[0] > 0


@pytest.mark.parametrize(("precision", "rounding"), [("bf16", 0.05), ("tf32", 0.01)])
def test_other_precision_learns_nearly_the_same(
    device: str, opened: Opened, precision: Precision, rounding: float
) -> None:
    if precision == "tf32" and device == "cpu":
        pytest.skip("tf32 is arithmetic of GPUs")
    plain = train(TEACHER, opened(device, "float32"))
    other = train(replace(TEACHER, precision=precision), opened(device, precision))
    assert other.curve.train_loss[0] == pytest.approx(plain.curve.train_loss[0], rel=rounding)
    assert other.curve.train_loss[0] != plain.curve.train_loss[0]


def test_deterministic_run_has_the_same_fingerprint_twice(device: str, opened: Opened) -> None:
    machine = opened(device).machine
    found = [compute(STUDENTS[1], machine, 6, deterministic=True)[0] for _ in range(2)]
    assert found[0] == found[1]


def test_steps_do_not_wait_for_the_device(device: str, opened: Opened) -> None:
    """The host only asks: nothing of a step is read back, nothing is copied to the device."""
    context = opened(device)
    train(TEACHER, context)
    run = STUDENTS[1]
    views = training_views(run, context.data.named(run.dataset), context)
    student_run, teacher_batches = (
        StudentRun(Task(run), context),
        TeacherBatches([run], Prepared(list(views.epoch(1))), context),
    )
    for last in (False, True):
        student_run.begin(1)
        if device == "cuda" and last:  # the first time libraries are loaded
            torch.cuda.set_sync_debug_mode("error")
        try:
            for number, distilled in enumerate(teacher_batches.epoch(1)):
                student_run.step(number, len(teacher_batches), distilled)
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    assert student_run.mean_loss() > 0
