"""Every row of every suite of the repository trains two steps, on random images of its shape.

And every method two steps on real images of CIFAR-100, where these are.

Equal students, teachers and losses are one case. Networks for 224 pixels see 64. Each network is
built once and copied. All of it took 171 s of one core's time, beside a dozen other processes on two cores.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache, lru_cache
from math import isfinite

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from kdbench import catalog
from kdbench.data import packed
from kdbench.machine import Data, Local, Machine
from kdbench.spec.events import Task
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.spec.suites import Variant
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.images import training_views
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from kdbench.training.teacher_batches import TeacherBatches
from tests.support.build import CE, make_run
from tests.support.data import RESIZE, SIZE, put_real_cifar100, random_data
from tests.support.suites import every_cell, first_cells

VARIANTS: tuple[Variant, Variant] = ("released", "printed")
UNTRAINED = {"blank", "resnet44", "vgg11", "vgg16", "vgg19", "wrn_16_1"}
"""Models that no row trains."""


@cache
def different() -> list[Run]:
    """As released, each student, teacher and loss once, each network at each shape; as printed, each loss."""
    found: list[Run] = []
    seen: set[object] = set()
    for variant in VARIANTS:
        for cell in every_cell(variant):
            if cell.row.untrained:
                continue
            run = cell.runs[0]  # of a row over several, only the data are others
            if not traits(run, variant) <= seen:
                seen |= traits(run, variant) | {run.loss.name}
                found.append(run)
    return sorted(found, key=lambda run: (shape(run), taught_by(run), run.loss.name))


def traits(run: Run, variant: Variant) -> set[object]:
    """What two runs must share to be one case."""
    if variant == "printed":
        return {run.loss.name}
    return {(run.student, taught_by(run), run.loss.name), (run.student, shape(run))}


def taught_by(run: Run) -> str:
    return run.teacher.run.student if run.teacher else ""


def shape(run: Run) -> tuple[int, int]:
    """Channels and side of the images that the network sees."""
    entry = catalog.find("datasets", run.dataset)
    return entry.channels, run.recipe.size or entry.size


@lru_cache(maxsize=3)
def built(model: str, classes: int, channels: int) -> nn.Module:
    """A network as it starts: building one takes longer than training it for two steps."""
    network: nn.Module = catalog.load(catalog.find("models", model).code)(classes, channels)
    return network.to(memory_format=torch.channels_last)


class Shared(TrainingContext):
    """A context whose networks are built once, and whose teachers are as they are before training."""

    def network(self, run: Run) -> nn.Module:
        """A copy of the network that was built."""
        entry = catalog.find("datasets", run.dataset)
        return deepcopy(built(run.student, run.recipe.classes or entry.classes, entry.channels))

    def teacher(self, run: Run) -> nn.Module | None:
        """The teacher as it is before training, with the batch-norm statistics of a batch of noise.

        Without them the features of a deep residual network are too large for two steps to be finite.
        """
        if run.teacher is None:
            return None
        network = self.network(run.teacher.run).requires_grad_(requires_grad=False)
        channels, side = shape(run.teacher.run)
        network.train()(torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0)))
        return network.eval()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingContext]:
    machine = Machine(local=Local(device="cpu", logits_gib=0), root=str(tmp_path_factory.mktemp("machine")))
    datasets = {name: random_data(name) for name in catalog.names("datasets")}
    shared = Shared(machine, open_context(machine).device)
    shared.data.stored |= datasets
    yield shared
    built.cache_clear()


def small(run: Run) -> Run:
    """Two steps of two images."""
    recipe = replace(
        run.recipe, epochs=1, batch_size=2, train_size=4, passes=0, milestones=(), warmup_epochs=0
    )
    return replace(run, recipe=replace(recipe, size=SIZE, resize=RESIZE) if recipe.size else recipe)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in catalog.MODELS if name not in UNTRAINED])
def test_rows_of_a_model_train_two_steps(context: TrainingContext, model: str) -> None:
    runs = [run for run in different() if run.student == model]
    assert runs
    for run in runs:
        trains_two_steps(context, small(run))


def trains_two_steps(context: TrainingContext, run: Run) -> None:
    student_run = StudentRun(Task(run), context)
    before = [each.detach().clone() for each in student_run.student.parameters()]
    teacher_batches = TeacherBatches([run], training_views(run, student_run.data, context), context)
    assert len(teacher_batches) == 2
    student_run.begin(1)
    for number, batch in enumerate(teacher_batches.epoch(1)):
        student_run.step(number, 2, batch)
    student_run.mean_loss()  # raises where it is not finite
    after = list(student_run.student.parameters())
    moved = [not old.equal(new) for old, new in zip(before, after, strict=True)]
    assert sum(moved) > 0.9 * len(moved), run
    assert all(each.isfinite().all() for each in after), run


@cache
def methods() -> dict[str, Loss]:
    """Every method of the field's suites on CIFAR-100, as it is first trained there."""
    found: dict[str, Loss] = {}
    names = [f"{name}_cifar100" for name in ("crd", "dkd", "dist", "ls", "takd")]
    for name in (*names, "nightly_methods"):
        for cell in first_cells(name, "released"):
            for run in cell.runs[:1]:
                found.setdefault(run.loss.name, run.loss)
    return found


METHODS = (
    *catalog.DISTILLERS, "ce", "hinton_kd", "kd_released", "kd_ls", "dist", "confidence_penalty",
)  # fmt: skip
SMOKE = Recipe(
    epochs=1, batch_size=32, lr=0.05, momentum=0.9, crop=4, flip=True, train_size=64, test_size=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> TrainingContext:
    """A hold on this machine's CPU with the real CIFAR-100."""
    folder = tmp_path_factory.mktemp("real")
    put_real_cifar100(folder)
    data = Data(folder=str(folder), offline=True)
    return open_context(Machine(local=Local(device="cpu"), data=data, root=str(folder)))


def test_every_distiller_is_a_method_of_the_suites() -> None:
    assert methods().keys() == set(METHODS)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", METHODS)
def test_method_trains_on_real_cifar100(real: TrainingContext, name: str) -> None:
    """resnet8, from resnet20 where somebody teaches, for two steps; then it classifies real test images."""
    made = replace(make_run("resnet20", 0, CE), dataset="cifar100", recipe=SMOKE)
    teacher = replace(made, data=catalog.DATASETS["cifar100"].digest)
    run = replace(teacher, student="resnet8", loss=methods()[name])
    if catalog.find("losses", name).teacher:
        train(teacher, real)
        run = replace(run, teacher=Teacher(teacher, 1))
    result = train(run, real)
    assert isfinite(result.curve.train_loss[0])
    assert 0 <= result.last <= 100
    assert result.environment["data"] == packed.CONTENT["cifar100"]
