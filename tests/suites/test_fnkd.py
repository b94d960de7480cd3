"""The suites of FNKD, and Tf-KD's Table 2: losses and recipes; test_published.py has their numbers."""

import pytest

from kdbench.plan.expand import expand
from kdbench.spec.suites import Row
from tests.support.places import SUITES
from tests.support.suites import shipped

TABLE_2 = shipped("tfkd_cifar10")
FNKD = {path.stem.removeprefix("fnkd_"): shipped(path.stem) for path in SUITES.glob("fnkd_*.toml")}
CIFAR = ("resnet20_v2", "resnet56_v2", "mobilenetv2_fnkd")
LARGE = ("resnet18_224", "resnet50_224", "mobilenetv2_224")
STUDENTS = {"cifar100": CIFAR, "cifar100_coarse": CIFAR, "cifar10": CIFAR, "cub200": LARGE, "cars": LARGE}
METHODS = {"ce", "lsd", "he", "fnkd_kd", "fnkd_kd self", "fnkd", "fnkd self"}
"""Of seven losses that every suite compares; anisotropic LSD needs near classes."""


def method(row: Row) -> str:
    """Which of the paper's losses a row is."""
    return f"{row.loss.name} self" if str(row.teacher) == "self" else row.loss.name


@pytest.mark.parametrize("name", STUDENTS)
def test_fnkd_has_every_loss_for_every_student(name: str) -> None:
    methods = METHODS | ({"alsd"} if name in ("cifar100", "cub200") else set())
    there = {(row.student, method(row)) for row in FNKD[name].rows}
    teachers = {"resnet110_v2", "resnet152_224"}
    wanted = {(student, each) for student in STUDENTS[name] for each in methods}
    assert {each for each in there if each[0] not in teachers} == wanted
    assert {each[1] for each in there if each[0] in teachers} == {"ce"}


def test_plain_cnn_is_trained_by_adam_as_released() -> None:
    for row, lr in (("2.baseline/plaincnn", 0.1), ("2.kd/plaincnn:resnet18", 0.001)):
        (released,) = expand(TABLE_2, rows=row)
        recipe = released.runs[0].recipe
        assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("adam", lr, 0, 0)
        (as_printed,) = expand(TABLE_2, rows=row, variant="printed")
        assert (as_printed.runs[0].recipe.optimizer, as_printed.runs[0].recipe.lr) == ("sgd", 0.1)


def test_cifar10_is_normalised_as_cifar100_as_released_alone() -> None:
    assert {cell.runs[0].recipe.normalize for cell in expand(TABLE_2)} == {"cifar100"}
    assert {cell.runs[0].recipe.normalize for cell in expand(TABLE_2, variant="printed")} == {""}


def test_coarse_labels_are_learned_under_a_hundred_outputs_as_released_alone() -> None:
    suite = FNKD["cifar100_coarse"]
    assert {run.recipe.classes for cell in expand(suite) for run in cell.runs} == {100}
    assert {run.recipe.classes for cell in expand(suite, variant="printed") for run in cell.runs} == {0}


@pytest.mark.parametrize("name", STUDENTS)
def test_everything_of_fnkd_that_is_assumed_says_so(name: str) -> None:
    assert all("the paper is not at hand" in row.assumed for row in FNKD[name].rows if not row.released)


def test_kd_of_table_1_has_the_printed_temperature() -> None:
    rows = {row.name: row.loss.params["T"] for row in FNKD["cub200"].rows if row.loss.name == "fnkd_kd"}
    assert {T for name, T in rows.items() if name.startswith("1.")} == {1.0}
    assert {T for name, T in rows.items() if not name.startswith("1.")} == {3.0}


def test_losses_of_fnkd_are_the_released_ones_as_released() -> None:
    cells = expand(FNKD["cifar100"])
    named = {cell.row.table: cell.runs[0].loss.name for cell in cells}
    assert named["self_kd"] == "fnkd_kd_released"
    assert named["fnkd"] == "fnkd_released"
    teacher = next(cell for cell in cells if cell.row.table == "fnkd").runs[0].teacher
    assert teacher is not None
    assert teacher.epoch == "best"
