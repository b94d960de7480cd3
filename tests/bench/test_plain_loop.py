"""The plain loop is kdbench's equal in all but speed: the same curve, to the last bit, on the same views."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench.models.folding import fold
from kdbench.training.context import TrainingContext
from kdbench.training.run import train
from tests.bench.sides import plain_loop
from tests.support.build import CE, KD
from tests.support.training import digits, open_digits

FEW: dict[str, Any] = {"train_size": 48, "test_size": 20}
SETTINGS: dict[str, Any] = {"milestones": (2,), "warmup_epochs": 1, "weight_decay": 5e-4, **FEW}
TEACHER = digits("digits_cnn", **FEW)
RUNS = [digits("digits_cnn", CE, **SETTINGS), digits("resnet20_v2", KD, TEACHER, **SETTINGS)]


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return open_digits(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.student}-{run.loss.name}")
def test_plain_loop_has_kdbenchs_curve(run: Any, context: TrainingContext) -> None:  # noqa: ANN401 - a Run
    if run.teacher:
        train(TEACHER, context)
    expected = train(run, context).curve
    train_it, loop = plain_loop(run, context)
    if loop.teacher is not None:
        loop.teacher = fold(loop.teacher)  # as kdbench's teachers are; it rounds otherwise
    curve = train_it()
    assert [each.train_loss for each in curve] == list(expected.train_loss)
    assert [each.test_loss for each in curve] == list(expected.test_loss)
    assert [each.top1 for each in curve] == list(expected.top1)
    saved = torch.load(context.machine.scratch / "plain.pt", weights_only=False)
    assert saved["curve"] == curve
