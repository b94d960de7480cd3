"""CRD's benchmark: every cell of RepDistiller's README once, with the recipe of its scripts.

tests/golden/crd.csv holds the tables as they were read; nothing here takes a number from the suite.
"""

import pytest

from kdbench import catalog
from kdbench.plan.expand import expand
from kdbench.plan.selection import Selection
from kdbench.report.gather import gather
from kdbench.report.html import page
from kdbench.report.markdown import markdown
from kdbench.report.sentences import notes
from kdbench.spec.suites import Row
from kdbench.verdict.judge import judge
from tests.support.places import ROOT, golden_lines
from tests.support.suites import shipped

SUITE = shipped("crd_cifar100")
LINES = golden_lines("crd")
NAMES = {
    "ResNet50": "resnet50_crd",
    "MobileNetV2": "mobilenetv2_crd",
    "ShuffleNetV1": "shufflenetv1",
    "ShuffleNetV2": "shufflenetv2_crd",
}
MOBILE = {"mobilenetv2_crd", "shufflenetv1", "shufflenetv2_crd"}
UNTRAINED = {"ab", "ft", "fsp"}
ALONE = [line for line in LINES if line["method"].endswith("baseline")]
TAUGHT = [line for line in LINES if not line["method"].endswith("baseline")]


def model(name: str) -> str:
    return NAMES.get(name, name.replace("-", "_"))


def address(line: dict[str, str]) -> str:
    pair = f"{model(line['student'])}:{model(line['teacher'])}"
    return f"{line['table']}.{line['method'].lower()}/{pair}"


def row(name: str) -> Row:
    return next(row for row in SUITE.rows if row.name == name)


def test_table_has_its_189_cells_and_each_stands_once() -> None:
    """Of 13 pairs, 7 of one kind with 13 methods and 6 of two kinds with 12; and 15 networks alone."""
    assert len(LINES) == 189
    printed = {
        f"{line['table']}.{line['method'].lower()}/{model(line['student'])}:{model(line['teacher'])}": line[
            "acc"
        ]
        for line in TAUGHT
    }
    assert len(printed) == 7 * 13 + 6 * 12
    alone = {f"0/{model(line['student'])}": line["acc"] for line in ALONE}
    found = {row.name: row.reference.top1 for row in SUITE.rows}
    assert found == {name: float(acc) if acc else None for name, acc in (printed | alone).items()}


@pytest.mark.parametrize("line", ALONE, ids=lambda line: line["note"])
def test_copies_of_a_baseline_agree(line: dict[str, str]) -> None:
    assert row(f"0/{model(line['student'])}").reference.top1 == float(line["acc"])


def test_recipe_is_that_of_the_scripts() -> None:
    for each in SUITE.rows:
        recipe = each.recipe
        assert recipe.lr == (0.01 if each.student in MOBILE else 0.05)
        assert (recipe.epochs, recipe.batch_size, recipe.milestones) == (240, 64, (150, 180, 210))
        assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, False, 5e-4)
        assert (recipe.crop, recipe.flip, recipe.rotation, each.report_epoch) == (4, True, 0, "last")


def test_methods_that_are_not_trained_are_named_and_all_others_are() -> None:
    untrained = {each.loss.name for each in SUITE.rows if each.untrained}
    assert untrained == UNTRAINED
    assert not UNTRAINED & set(catalog.names("losses"))
    cells = [cell for cell in expand(SUITE) if cell.row.loss.name not in UNTRAINED]
    assert len(cells) == 189 - 2 * 13 + 15 - (7 + 7 + 7 + 6 + 6)
    assert all(cell.runs for cell in cells)


def test_teachers_are_runs_of_the_suite() -> None:
    [cell] = [cell for cell in expand(SUITE) if cell.row.name == "1.crd/resnet8x4:resnet32x4"]
    run = cell.runs[0]
    assert run.teacher is not None
    assert (run.teacher.run.student, run.teacher.epoch) == ("resnet32x4", 240)
    assert run.loss.params == {"beta": 0.8, "dim": 128, "negatives": 16384, "T": 0.07, "momentum": 0.5}


def test_copied_numbers_are_told_where_they_were_first_printed_and_where_they_are_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the report's notes; the page of the row and the CSV take theirs from the same sentences."""
    monkeypatch.chdir(ROOT)
    chosen = Selection(suites=("suites/crd_cifar100", "suites/dkd_cifar100"), rows="1.kd/resnet20:resnet56")
    first, second = gather(judge(chosen))
    (original,), (copy,) = first.checks, second.checks
    note = "its number is copied by dkd_cifar100: 1.kd/resnet20:resnet56; ls_cifar100: 1.kd/resnet20:resnet56"
    assert note in list(notes(original))
    assert "its number is copied from crd_cifar100" in list(notes(copy))
    assert note in markdown([first])
    assert "its number is copied by" in page([first])
