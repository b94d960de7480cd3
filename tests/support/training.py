"""Runs on the digits, trained alone or beside each other, and what is compared of them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from msgspec.structs import replace
from torch import nn

from kdbench import catalog
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.models.output import Network
from kdbench.spec.events import Event, Task, Update
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.store.weights import weights_file
from kdbench.training.checkpoint import Progress, load_weights
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.run import train, train_cohort
from kdbench.training.task import do
from tests.support.build import CE, make_run

RECIPE = Recipe(
    epochs=3, batch_size=32, lr=0.05, momentum=0.9, crop=1, flip=True, rotation=10.0,
    train_size=96, test_size=100,
)  # fmt: skip


SETTINGS: dict[str, dict[str, Any]] = {
    "cosine": {"schedule": "cosine", "warmup_epochs": 1},
    "clip_norm": {"clip_norm": 0.5},
    "label_smoothing": {"label_smoothing": 0.1},
    "ema": {"ema": 0.8},
    "randaugment": {"randaugment": 2},
    "random_erasing": {"random_erasing": 0.5},
    "validation_size": {"validation_size": 30, "validation_seed": 1},
    "mixup": {"mixup": 1.0},
    "cutmix": {"cutmix": 1.0, "label_smoothing": 0.1},
}
"""Recipe fields that must hold in any company and after any stop, by name."""

Opened = Callable[..., TrainingContext]


class Interrupted(BaseException):
    """No Exception, as Ctrl-C is none."""


def interrupted(run: Run, context: TrainingContext, epoch: int, **options: Any) -> TrainingContext:  # noqa: ANN401 - train's
    """The context, with what a run leaves in it that was interrupted after so many epochs."""

    def stop(progress: Progress) -> None:
        if progress.epoch == epoch:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(run, context, watch=stop, **options)
    return context


def digits(
    student: str = "digits_mlp",
    loss: Loss = CE,
    teacher: Run | None = None,
    *,
    seed: int = 0,
    recipe: Recipe = RECIPE,
    **settings: Any,  # noqa: ANN401 - recipe fields
) -> Run:
    """A run on the digits, of a fraction of a second, taught by the last epoch of another."""
    run = replace(make_run(student, seed, loss), dataset="digits", data=catalog.DATASETS["digits"].digest)
    taught = teacher and Teacher(teacher, teacher.recipe.epochs)
    return replace(run, recipe=replace(recipe, **settings), teacher=taught)


TEACHER = digits("digits_cnn")


def digits_dropout(classes: int, channels: int) -> nn.Module:
    """The small student with dropout."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, 32), nn.ReLU(), nn.Dropout(0.5))
    return Network(body, nn.Linear(32, classes))


def open_digits(folder: Path, data: Path | None = None, **local: Any) -> TrainingContext:  # noqa: ANN401 - of benchmark.toml
    """A context of this machine's CPU that writes into a folder, with the data there or elsewhere."""
    machine = Machine(
        local=Local(**{"device": "cpu", "checkpoint_seconds": 0, **local}),
        data=Data(folder=str(data or folder / "data"), offline=True),
        folders=Folders(results="results", scratch="scratch"),
        root=str(folder),
    )
    return open_context(machine)


def kept_of(runs: Sequence[Run], folder: Path, data: Path) -> Path:
    """The scratch folder of a context in which runs were trained."""
    context = open_digits(folder, data)
    for run in runs:
        train(run, context)
    return context.machine.scratch


def copied_to(opened: Opened, scratch: Path) -> Opened:
    """As `opened`; what was kept lies in each context."""

    def make(name: str = "here", **local: Any) -> TrainingContext:  # noqa: ANN401 - of benchmark.toml
        context = opened(name, **local)
        copytree(scratch, context.machine.scratch, dirs_exist_ok=True)
        return context

    return make


def numbers(result: object) -> tuple[object, ...]:
    assert isinstance(result, Result)
    curve = result.curve
    return curve.top1, curve.test_loss, curve.train_loss, curve.validation_top1, result.weights


def ends(context: TrainingContext, runs: Iterable[Run], **options: Any) -> list[Event]:  # noqa: ANN401 - a Task's
    """How runs ended that a worker was given together, each exactly once, in this order."""
    emitted: list[Event] = []
    do([Task(run, **options) for run in runs], context, emitted.append)
    last: list[Event] = [event for event in emitted if not isinstance(event, Update)]
    assert len({event.id for event in last}) == len(last)
    return last


def network_left(context: TrainingContext, run: Run, epoch: int | str) -> nn.Module:
    """A run's network, for evaluation, with the weights of an epoch that it has left for its students."""
    path, network = weights_file(context.machine.scratch, run.id, epoch), context.network(run)
    assert path is not None
    load_weights(path, network)
    return network.eval()


def together(runs: Sequence[Run], context: TrainingContext, **options: Any) -> dict[str, Result | Exception]:  # noqa: ANN401 - train_cohort's
    return {task.run.id: end for task, end in train_cohort([Task(run) for run in runs], context, **options)}


def forwards(student: str, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each forward pass of this model from now on: whether it was in training."""
    seen: list[bool] = []
    build = catalog.load(catalog.MODELS[student].code)

    def watched(classes: int, channels: int) -> nn.Module:
        network: nn.Module = build(classes, channels)
        network.register_forward_pre_hook(lambda module, _: seen.append(module.training))
        return network

    monkeypatch.setattr(build.__module__ + "." + build.__name__, watched)
    return seen
