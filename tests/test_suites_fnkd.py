"""The suites of FNKD, and Tf-KD's Table 2: every cell there, every number as it was sourced."""

import csv
from pathlib import Path

import pytest

from kdbench.lint import lint_suite
from kdbench.plan import expand
from kdbench.spec import Row
from kdbench.suite import load_suite

ROOT = Path(__file__).parents[1]
TABLE_2 = load_suite(ROOT / "suites" / "tfkd_cifar10")
FNKD = {
    name: load_suite(ROOT / "suites" / f"fnkd_{name}") for name in ("cifar100", "cifar100_coarse", "cifar10")
}
STUDENTS = ("resnet20_v2", "resnet56_v2", "mobilenetv2_fnkd")


def lines() -> list[dict[str, str]]:
    with (Path(__file__).parent / "golden" / "tfkd.csv").open(encoding="utf-8", newline="") as file:
        return [line for line in csv.DictReader(file) if line["dataset"] == "cifar10"]


def printed(row: Row) -> tuple[str, str, float | None, float | None, float | None]:
    reference = row.reference
    return row.student, str(row.teacher or ""), reference.top1, reference.std, reference.gain


def test_table_2_has_every_line_of_the_paper_and_no_other() -> None:
    wanted = [
        (
            line["student"],
            line["teacher"],
            float(line["acc"]),
            float(line["std"]),
            float(line["printed_delta"]),
        )
        for line in lines()
    ]
    assert len(wanted) == 8
    assert sorted(printed(row) for row in TABLE_2.rows if not row.is_baseline) == sorted(wanted)


def test_table_2_has_the_printed_baselines_and_teachers() -> None:
    baselines = {row.student: row.reference.top1 for row in TABLE_2.rows if row.is_baseline}
    assert baselines == {line["student"]: float(line["baseline"]) for line in lines()}
    assert all(baselines[line["teacher"]] == float(line["teacher_acc"]) for line in lines())


def test_table_2_contradicts_itself_once() -> None:
    (found,) = (finding for finding in lint_suite(TABLE_2) if finding.level == "warning")
    assert "the printed gain is 0.92, but 91.81 - 90.98 is 0.83" in found.sentence


def test_plain_cnn_is_trained_by_adam_as_released() -> None:
    for row, lr in (("2.baseline/plaincnn", 0.1), ("2.kd/plaincnn:resnet18", 0.001)):
        (released,) = expand(TABLE_2, rows=row)
        recipe = released.runs[0].recipe
        assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("adam", lr, 0, 0)
        (as_printed,) = expand(TABLE_2, rows=row, form="printed")
        assert (as_printed.runs[0].recipe.optimizer, as_printed.runs[0].recipe.lr) == ("sgd", 0.1)


def test_cifar10_is_normalised_as_cifar100_as_released_alone() -> None:
    assert {cell.runs[0].recipe.normalize for cell in expand(TABLE_2)} == {"cifar100"}
    assert {cell.runs[0].recipe.normalize for cell in expand(TABLE_2, form="printed")} == {""}


@pytest.mark.parametrize("name", FNKD)
def test_fnkd_has_every_loss_for_every_student(name: str) -> None:
    tables = ["lsd", "kd", "self_kd", "he", "fnkd", "self_fnkd"] + (["alsd"] if name == "cifar100" else [])
    there = {(row.table, row.student) for row in FNKD[name].rows if not row.is_baseline}
    assert there == {(table, student) for table in tables for student in STUDENTS}


@pytest.mark.parametrize("name", FNKD)
def test_fnkd_has_no_number_but_the_measured_teachers(name: str) -> None:
    numbers = {row.name: row.reference for row in FNKD[name].rows if row.reference.top1 is not None}
    assert [row.reference.gain for row in FNKD[name].rows if row.reference.gain is not None] == []
    if name == "cifar100_coarse":
        assert [(row, ref.top1, ref.kind) for row, ref in numbers.items()] == [
            ("baseline/resnet56_v2", 81.73, "measured")
        ]
    else:
        assert numbers == {}


def test_second_hand_gains_of_fnkd_stand_with_their_rows() -> None:
    notes = {row.name: row.note for row in FNKD["cifar100"].rows if "second-hand" in row.note}
    assert {name: "gain of 0.85" in note or "gain of 0.50" in note for name, note in notes.items()} == {
        "fnkd/resnet20_v2:resnet56_v2": True,
        "fnkd/resnet56_v2:resnet110_v2": True,
    }


def test_coarse_labels_are_learned_under_a_hundred_outputs_as_released_alone() -> None:
    suite = FNKD["cifar100_coarse"]
    assert {cell.runs[0].recipe.classes for cell in expand(suite)} == {100}
    assert {cell.runs[0].recipe.classes for cell in expand(suite, form="printed")} == {0}


@pytest.mark.parametrize("name", FNKD)
def test_everything_of_fnkd_that_is_assumed_says_so(name: str) -> None:
    assert all("the paper is not at hand" in row.assumed for row in FNKD[name].rows)


def test_losses_of_fnkd_are_the_released_ones_as_released() -> None:
    cells = expand(FNKD["cifar100"])
    named = {cell.row.table: cell.runs[0].loss.name for cell in cells}
    assert named["self_kd"] == "fnkd_kd_released"
    assert named["fnkd"] == "fnkd_released"
    teacher = next(cell for cell in cells if cell.row.table == "fnkd").runs[0].teacher
    assert teacher is not None
    assert teacher.epoch == "best"
