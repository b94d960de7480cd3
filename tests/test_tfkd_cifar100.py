"""suites/tfkd_cifar100 against the printed numbers and the released parameter files, line by line."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from kdbench.plan import expand
from kdbench.printed import printed_baselines
from kdbench.spec import Cell, Form, Row, Suite
from kdbench.suite import load_suite

GOLDEN = Path(__file__).parent / "golden"
SUITE = load_suite(Path(__file__).parents[1] / "suites" / "tfkd_cifar100")
PRINTED_BASELINE = printed_baselines(SUITE.rows)

PARTS = {"normal_kd": "kd", "re_kd": "rekd", "de_kd": "dekd"}
"""The words of tfkd.csv for a part of a table, where the suite's differ."""

LOSSES = {"normal_kd": "kd", "re_kd": "kd", "de_kd": "kd"}


def read(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


LINES = [line for line in read("tfkd.csv") if line["dataset"] == "cifar100"]


def title(line: dict[str, str]) -> str:
    """The row that a printed line is: its name in the suite."""
    part = PARTS.get(line["method"], line["method"])
    taught = {"tfkd_self": ":self", "tfkd_reg": "", "lsr": ""}.get(line["method"], f":{line['teacher']}")
    return f"{line['table']}.{part}/{line['student']}{taught}"


def number(text: str) -> float | None:
    return float(text) if text else None


def row_of(line: dict[str, str]) -> Row:
    (row,) = (row for row in SUITE.rows if row.name == title(line))
    return row


def test_reference_has_every_line_of_the_paper() -> None:
    assert Counter(line["table"] for line in LINES) == {"1": 16, "4": 8, "5": 12, "9": 12}


@pytest.mark.parametrize("line", LINES, ids=title)
def test_printed_line_stands_as_one_row(line: dict[str, str]) -> None:
    row = row_of(line)
    assert (row.loss.name, row.reference.kind) == (LOSSES.get(line["method"], line["method"]), "printed")
    assert (row.reference.top1, row.reference.std, row.reference.gain) == (
        number(line["acc"]),
        number(line["std"]),
        number(line["printed_delta"]),
    )
    assert line["certainty"] in row.reference.source
    assert f"Table {line['table']}" in row.reference.source


@pytest.mark.parametrize("line", LINES, ids=title)
def test_printed_baseline_of_a_line_stands_in_its_table(line: dict[str, str]) -> None:
    assert PRINTED_BASELINE(row_of(line)) == number(line["baseline"])


@pytest.mark.parametrize("line", [line for line in LINES if line["teacher_acc"]], ids=title)
def test_printed_teacher_of_a_line_stands_in_its_table(line: dict[str, str]) -> None:
    student, _, epoch = line["teacher"].partition("@")
    (found,) = (
        row.reference.top1
        for row in SUITE.rows
        if row.printed_table == line["table"]
        and row.student == student
        and row.teacher is None
        and row.loss.name == "ce"
        and row.reading == (int(epoch) if epoch else "last")
    )
    assert found == number(line["teacher_acc"])


def test_no_row_is_without_a_printed_line() -> None:
    untaught = {row.name for row in SUITE.rows if row.loss.name == "ce"}
    assert {row.name for row in SUITE.rows} - untaught == {title(line) for line in LINES}


def test_rows_without_a_line_are_baselines_and_teachers_of_some_line() -> None:
    named = {line[key].partition("@")[0] for line in LINES for key in ("student", "teacher")}
    assert {row.student for row in SUITE.rows if row.loss.name == "ce"} == named - {""}


def test_rows_whose_printed_gain_does_not_add_up() -> None:
    assert [row.name for row in SUITE.rows if row.sic] == [
        "4.dekd/mobilenetv2:resnet50@50",
        "4.dekd/resnet18:resnet50@50",
        "9.kd/googlenet:resnext29",
    ]


def test_runs_of_a_printed_std_are_three_where_the_paper_says_so() -> None:
    with_std = [row for row in SUITE.rows if row.reference.std is not None]
    assert {(row.printed_table, row.reference.n) for row in with_std} == {("1", 3), ("4", None)}


def test_only_the_unsourced_teacher_has_no_number() -> None:
    bare = [row.name for row in SUITE.rows if row.reference.top1 is None and row.reference.gain is None]
    assert bare == ["5.teacher/resnext101"]


# The released parameter files.

MODELS = {"mobilenet_v2": "mobilenetv2", "shufflenet_v2": "shufflenetv2"}
FOREIGN = {"alexnet", "cnn", "vgg19"}
"""Models of no printed CIFAR-100 cell."""

CONTRADICTORY = {
    "base_experiments/base_densenet121": "tfkd_reg without its multiplier: only the batch size is used",
    "base_experiments/base_resnext29": "tfkd_reg without its multiplier: only the batch size is used",
    "base_experiments/base_resnext101": "tfkd_reg without its multiplier: only the batch size is used",
    "kd_experiments/resnet18_distill/densenet121_teacher": "main.py knows no teacher densenet; no such row",
    "kd_experiments/resnet50_distill/resnet50_self_teacher": "tfkd_self without its multiplier; no such row",
    "kd_experiments/resnext29_distill/resnet18_teacher": "names mobilenet_v2; used for what its folder says",
    "kd_experiments/alexnet_distill/alexnet_self_teacher": "tfkd_self without its multiplier; no such row",
}
"""The files that contradict the code that reads them, and what is made of each."""

RELEASED = [line for line in read("tfkd_released_hyperparameters.csv") if line["student"] not in FOREIGN]


def folder(line: dict[str, str]) -> str:
    return line["file"].removeprefix("experiments/").removesuffix("/params.json")


def cells(form: Form = "released") -> tuple[Cell, ...]:
    return expand(SUITE, form=form, seeds=[0])


def concerned(line: dict[str, str]) -> list[Cell]:
    """The rows, as released, that a parameter file is for."""
    student = MODELS.get(line["student"], line["student"])
    of = [cell for cell in RELEASED_CELLS if cell.row.student == student]
    if folder(line).startswith("base_experiments"):
        plain = ("ce", "lsr_released", "tfkd_reg_released")
        return [cell for cell in of if cell.row.loss.name in plain]
    if line["method"] == "tfkd_self":
        return [cell for cell in of if cell.row.loss.name == "tfkd_self_released"]
    named = "resnet18" if folder(line).endswith("resnext29_distill/resnet18_teacher") else line["teacher"]
    teacher = MODELS.get(named, named)
    return [
        cell for cell in of if cell.row.loss.name == "kd_released" and cell.row.teacher_student == teacher
    ]


RELEASED_CELLS = cells()
USED = [(line, cell) for line in RELEASED for cell in concerned(line)]


@pytest.mark.parametrize(
    ("line", "cell"), USED, ids=[f"{folder(line)}-{cell.row.name}" for line, cell in USED]
)
def test_row_has_its_released_parameters(line: dict[str, str], cell: Cell) -> None:
    row = cell.row
    assert (row.recipe.batch_size, row.recipe.epochs) == (int(line["batch_size"]), int(line["epochs"]))
    assert row.recipe.lr == float(line["lr"])
    if row.loss.name not in ("ce", "lsr_released"):
        released = {key: float(line[key]) for key in ("alpha", "tau", "multiplier") if line[key]}
        assert {key: row.loss.params[key] for key in released} == released


def test_files_that_concern_no_row_are_of_pairs_that_are_not_printed() -> None:
    assert [folder(line) for line in RELEASED if not concerned(line)] == [
        "kd_experiments/mobilenet_distill/resnet101_teacher",
        "kd_experiments/resnet18_distill/densenet121_teacher",
        "kd_experiments/resnet50_distill/resnet50_self_teacher",
    ]


def test_contradictory_files_are_those_listed() -> None:
    noted = [line for line in read("tfkd_released_hyperparameters.csv") if line["note"]]
    assert {folder(line) for line in noted} == set(CONTRADICTORY)


def test_row_of_a_file_that_contradicts_its_folder_says_so() -> None:
    (row,) = (row for row in SUITE.rows if row.name == "1.rekd/resnext29:resnet18")
    assert "byte-identical copy of the mobilenet_v2 file" in row.note


def test_rows_without_a_released_file_say_so() -> None:
    with_file = {cell.row.name for _, cell in USED}
    without = {row.name for row in SUITE.rows if row.name not in with_file}
    assert without == {row.name for row in SUITE.rows if "no parameter file is released" in row.note}


def test_every_released_run_has_what_only_the_code_does() -> None:
    recipes = [cell.row.recipe for cell in RELEASED_CELLS]
    assert {(r.warmup_epochs, r.rotation, r.lr_batch) for r in recipes} == {(1, 15.0, 128)}


def test_every_printed_run_has_what_the_paper_says() -> None:
    recipes = {cell.row.recipe for cell in cells("printed")}
    (recipe,) = recipes
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.milestones, recipe.gamma) == (
        200,
        128,
        0.1,
        (60, 120, 160),
        0.2,
    )
    assert (recipe.momentum, recipe.weight_decay, recipe.warmup_epochs, recipe.rotation) == (0.9, 5e-4, 0, 0)


def test_teachers_are_the_best_epoch_in_the_code_and_the_last_in_print() -> None:
    def epochs(form: Form) -> set[int | str]:
        found = [cell for cell in cells(form) if cell.row.printed_table != "4"]
        return {run.teacher.epoch for cell in found for run in cell.runs if run.teacher}

    assert (epochs("released"), epochs("printed")) == ({"best"}, {200})


PINNED: dict[str, tuple[str, str]] = {
    "1.baseline/mobilenetv2": ("807512f02433", "1812781da6cd"),
    "1.kd/mobilenetv2:resnet18": ("655bea2f3651", "4088300a7123"),
    "4.dekd/resnet18:resnext29@50": ("aca24a20f092", "6f2dde504562"),
    "5.tfkd_self/resnext29:self": ("83df82c58974", "103aead6df07"),
    "9.tfkd_reg/googlenet": ("2677f613b3da", "f6ca96f06a70"),
    "9.lsr/shufflenetv2": ("2cde2acf7690", "03aaf220a2f9"),
}
"""The ids of seed 0, as released and as printed: stored results are found by them."""


@pytest.mark.parametrize("name", PINNED)
def test_id_is_pinned(name: str) -> None:
    forms: tuple[Form, Form] = ("released", "printed")
    ids = [expand(SUITE, form=form, rows=name, seeds=[0])[0].ids[0] for form in forms]
    assert tuple(ids) == PINNED[name]


def test_equal_rows_are_the_same_runs() -> None:
    same = Counter(cell.ids for cell in RELEASED_CELLS)
    assert len(same) == 50
    assert _names("5.kd/mobilenetv2:resnet18") == _names("1.kd/mobilenetv2:resnet18")


def _names(row: str, suite: Suite = SUITE) -> tuple[str, ...]:
    return expand(suite, rows=row)[0].ids
