"""What the audit predicts, confirmed by training: the same objective gives the same curve."""

from math import dist, hypot
from pathlib import Path
from typing import Any

import pytest

from kdbench import catalog
from kdbench.spec.results import Curve
from kdbench.spec.runs import Loss
from kdbench.training.probe import probe
from kdbench.training.run import train
from tests.support.training import digits, open_digits

K = 10
WHOLE: dict[str, Any] = {"epochs": 10, "train_size": 0, "test_size": 0}
TEACHER = digits("digits_cnn", **WHOLE)
TAKD = Loss("kd_released", {"alpha": 0.5, "tau": 5})
"""TAKD's and Tf-KD's: the mean over the classes too, D_KL tau^2 / K."""
PRINTED = Loss("hinton_kd", {"alpha": 0.5, "tau": 5})
"""Without the division by K: a soft term of K times the weight."""
TFKD_REG = Loss("tfkd_reg_released", {"a": 0.99, "alpha": 0.1, "multiplier": 10, "tau": 20})
SMOOTHED = Loss("lsr", {"epsilon": 0.1})
SAME = {
    "takd": (TAKD, Loss("kd_weighted", {"alpha": 0.5, "tau": 5, "multiplier": 1 / K})),
    "tfkd_self": (
        Loss("tfkd_self_released", {"alpha": 0.9, "tau": 20, "multiplier": 50}),
        Loss("kd_weighted", {"alpha": 0.9, "tau": 20, "multiplier": 50 / K}),
    ),
    "fnkd_kd": (
        Loss("fnkd_kd_released", {"alpha": 0.5, "T": 3}),
        Loss("hinton_kd", {"alpha": 0.5, "tau": 3}),
    ),
}


CURVES: dict[str, Curve] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machine")


def trained(folder: Path, loss: Loss, smoothing: float = 0.0) -> Curve:
    """The curve of a student, and of its teacher where it has one; each is trained once."""
    teacher = TEACHER if catalog.find("losses", loss.name).teacher else None
    run = digits("digits_mlp", loss, teacher, **WHOLE, label_smoothing=smoothing)
    context = open_digits(folder)
    for each in (teacher, run) if teacher else (run,):
        if each.id not in CURVES:
            CURVES[each.id] = train(each, context).curve
    return CURVES[run.id]


def apart(one: Loss, other: Loss, smoothing: float = 0.0) -> float:
    """The difference of two gradients on the probe, as a share of the size of the first."""
    a, b = probe(one, "digits", K), probe(other, "digits", K, smoothing)
    return dist(a.slope, b.slope) / hypot(*a.slope)


def differ(one: Curve, other: Curve) -> tuple[float, float]:
    """The largest differences in accuracy, in points, and in the loss on test, as a share of it."""
    top1 = max(abs(a - b) for a, b in zip(one.top1, other.top1, strict=True))
    loss = max(abs(a - b) / a for a, b in zip(one.test_loss, other.test_loss, strict=True))
    return top1, loss


def test_probe_finds_how_far_objectives_are_apart() -> None:
    """Tf-KD_reg as released is label smoothing to 0.05 % of the gradient; released KD is not as printed."""
    assert all(apart(*pair) < 1e-12 for pair in SAME.values())
    assert apart(SMOOTHED, Loss("ce"), 0.1) < 1e-12
    assert apart(TFKD_REG, SMOOTHED) == pytest.approx(5e-4, rel=0.05)
    assert apart(TAKD, PRINTED) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME)
def test_objectives_that_are_the_same_to_rounding_give_the_same_curves(folder: Path, name: str) -> None:
    one, other = SAME[name]
    top1, loss = differ(trained(folder, one), trained(folder, other))
    assert top1 == 0
    assert loss < 1e-5


@pytest.mark.slow
def test_smoothing_by_the_recipe_gives_the_curve_of_label_smoothing(folder: Path) -> None:
    assert differ(trained(folder, SMOOTHED), trained(folder, Loss("ce"), smoothing=0.1)) == (0, 0)


@pytest.mark.slow
def test_objectives_that_are_nearly_the_same_give_nearly_the_same_curves(folder: Path) -> None:
    """Tf-KD_reg as released and label smoothing: one image in a hundred."""
    near, loss = differ(trained(folder, TFKD_REG), trained(folder, SMOOTHED))
    assert near <= 1.5
    assert loss < 0.02


@pytest.mark.slow
def test_released_kd_is_not_the_printed_one_and_gives_another_curve(folder: Path) -> None:
    top1, loss = differ(trained(folder, TAKD), trained(folder, PRINTED))
    assert top1 > 3
    assert loss > 0.1
