"""suites/tfkd_cifar100 against the released parameter files; its numbers: test_published.py."""

from collections import Counter

import pytest

from kdbench.plan.expand import expand
from kdbench.spec.suites import Cell, Suite, Variant
from tests.support.places import golden_lines
from tests.support.suites import first_cells, shipped

SUITE = shipped("tfkd_cifar100")


LINES = [line for line in golden_lines("tfkd") if line["dataset"] == "cifar100"]


def test_rows_without_a_line_are_baselines_and_teachers_of_some_line() -> None:
    named = {line[key].partition("@")[0] for line in LINES for key in ("student", "teacher")}
    assert {row.student for row in SUITE.rows if row.loss.name == "ce"} == named - {""}


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

RELEASED = [line for line in golden_lines("tfkd_released_hyperparameters") if line["student"] not in FOREIGN]


def folder(line: dict[str, str]) -> str:
    return line["file"].removeprefix("experiments/").removesuffix("/params.json")


def cells(variant: Variant = "released") -> tuple[Cell, ...]:
    return first_cells("tfkd_cifar100", variant)


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
    noted = [line for line in golden_lines("tfkd_released_hyperparameters") if line["note"]]
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
    def epochs(variant: Variant) -> set[int | str]:
        found = [cell for cell in cells(variant) if cell.row.printed_table != "4"]
        return {run.teacher.epoch for cell in found for run in cell.runs if run.teacher}

    assert (epochs("released"), epochs("printed")) == ({"best"}, {200})


@pytest.mark.parametrize("name", ["tfkd_cifar100", "tfkd_tinyimagenet"])
def test_released_checkpoint_called_50_is_after_51_epochs_and_0_after_1(name: str) -> None:
    """Of De-KD's teachers and, in the rows that print their accuracy, of the reported epoch."""
    suite = shipped(name)
    cases: tuple[tuple[Variant, int], ...] = (("printed", 50), ("released", 51))
    for variant, late in cases:
        for cell in expand(suite, variant=variant, rows="4.*@*", seeds=[0]):
            teacher = cell.runs[0].teacher
            epoch = teacher.epoch if teacher else cell.row.report_epoch
            assert epoch == (1 if cell.row.name.endswith("@1") else late)


PINNED: dict[str, tuple[str, str]] = {
    "1.baseline/mobilenetv2": ("807512f02433", "1812781da6cd"),
    "1.kd/mobilenetv2:resnet18": ("655bea2f3651", "4088300a7123"),
    "4.dekd/resnet18:resnext29@50": ("5dbc90ab52d1", "6f2dde504562"),
    "5.tfkd_self/resnext29:self": ("83df82c58974", "103aead6df07"),
    "9.tfkd_reg/googlenet": ("2677f613b3da", "f6ca96f06a70"),
    "9.lsr/shufflenetv2": ("2cde2acf7690", "03aaf220a2f9"),
}
"""The ids of seed 0, as released and as printed: stored results are found by them."""


@pytest.mark.parametrize("name", PINNED)
def test_id_is_pinned(name: str) -> None:
    forms: tuple[Variant, Variant] = ("released", "printed")
    ids = [expand(SUITE, variant=variant, rows=name, seeds=[0])[0].ids[0] for variant in forms]
    assert tuple(ids) == PINNED[name]


def test_equal_rows_are_the_same_runs() -> None:
    same = Counter(cell.ids for cell in RELEASED_CELLS)
    assert len(same) == 50
    assert _names("5.kd/mobilenetv2:resnet18") == _names("1.kd/mobilenetv2:resnet18")


def _names(row: str, suite: Suite = SUITE) -> tuple[str, ...]:
    return expand(suite, rows=row)[0].ids
