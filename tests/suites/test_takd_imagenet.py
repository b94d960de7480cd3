"""The suites of TAKD, and those of DKD and DIST on ImageNet: every printed value once, and their chains.

tests/golden/takd_imagenet.csv holds the values as they were read; no number here is from the suites.
"""

import pytest

from kdbench.plan.expand import expand
from kdbench.spec.suites import Suite
from kdbench.suite.lint import lint_suite
from tests.support.places import golden_lines
from tests.support.suites import shipped

LINES = golden_lines("takd_imagenet")
NAMES = ("takd_cifar100", "takd_cifar10", "dkd_imagenet", "dist_imagenet")
SUITES = {name: shipped(name) for name in NAMES}
IMAGENET = {
    "mobilenetv1": "mobilenetv1_224", "mobilenetv2": "mobilenetv2_224", "resnet50sb": "resnet50_sb_224",
    "efficientnetb0": "efficientnet_b0_224", "swinl": "swin_large_224", "swint": "swin_tiny_224",
    **{f"resnet{depth}": f"resnet{depth}_224" for depth in (18, 34, 50, 101, 152)},
}  # fmt: skip


def lines(name: str) -> list[dict[str, str]]:
    paper, dataset = name.upper().split("_")
    return [
        line
        for line in LINES
        if line["paper"] == paper and line["dataset"].replace("-", "").upper() == dataset
    ]


def printed(suite: Suite) -> list[tuple[str, str, float]]:
    """Student, teacher and accuracy of every number that a table of the paper prints, in some order."""
    rows = [row for row in suite.rows if row.reference.top1 is not None and row.table not in ("0", "ta")]
    return sorted((row.student, str(row.teacher or ""), row.reference.top1 or 0.0) for row in rows)


@pytest.mark.parametrize(("name", "cells"), [("takd_cifar100", 13), ("takd_cifar10", 29)])
def test_every_value_of_takd_stands_once(name: str, cells: int) -> None:
    def model(given: str) -> str:
        last = given.lower().rpartition(" -> ")[2]
        return f"plane{last.removeprefix('plain')}_{name.partition('_')[2]}" if "plain" in last else last

    read = [(model(line["student"]), model(line["teacher"]), float(line["acc"])) for line in lines(name)]
    assert printed(SUITES[name]) == sorted(read)
    assert len(read) == cells


@pytest.mark.parametrize(("name", "cells"), [("dkd_imagenet", 4), ("dist_imagenet", 28)])
def test_every_value_on_imagenet_stands_once(name: str, cells: int) -> None:
    def model(given: str) -> str:
        return IMAGENET[given.lower().replace("-", "").replace(" ", "")]

    read = [(model(line["student"]), model(line["teacher"]), float(line["acc"])) for line in lines(name)]
    assert printed(SUITES[name]) == sorted(read)
    assert len(read) == cells


def test_students_of_takd_are_taught_by_assistants_that_were_taught() -> None:
    cells = {cell.row.name: cell for cell in expand(SUITES["takd_cifar100"])}
    run = cells["2.takd/plane2_cifar100:plane6_cifar100"].runs[0]
    assert run.teacher is not None
    assistant = run.teacher.run
    assert assistant.teacher is not None
    chain = (assistant.teacher.run.student, assistant.student, run.student)
    assert chain == ("plane10_cifar100", "plane6_cifar100", "plane2_cifar100")
    assert (run.loss.name, assistant.loss.name, assistant.teacher.run.loss.name) == (
        "kd_released",
        "kd_released",
        "ce",
    )
    assert run.teacher.epoch == assistant.teacher.epoch == "best"


def test_recipe_of_takd_differs_between_paper_and_code() -> None:
    released, as_printed = (
        {cell.row.name: cell.row.recipe for cell in expand(SUITES["takd_cifar10"], variant=variant)}
        for variant in ("released", "printed")
    )
    plain, residual = "1.nokd/plane2_cifar10", "1.nokd/resnet8"
    assert (as_printed[plain].lr, as_printed[plain].epochs, as_printed[plain].nesterov) == (0.1, 150, True)
    assert (released[plain].lr, released[plain].epochs, released[plain].normalize) == (0.01, 160, "cifar100")
    assert (as_printed[residual].lr, as_printed[residual].milestones) == (0.1, (80, 120))
    assert (released[residual].lr, released[residual].milestones) == (0.01, (120,))


def test_takd_disagrees_with_itself_where_lint_says() -> None:
    found = [each.sentence for each in lint_suite(SUITES["takd_cifar10"]) if each.level == "warning"]
    assert "resnet8 from resnet20, hinton_kd: top1 88.98 in Table 1, 88.90 in Table 3" in found


def test_recipe_of_dkd_on_imagenet_is_that_of_its_configurations() -> None:
    for row in SUITES["dkd_imagenet"].rows:
        recipe = row.recipe
        assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.milestones) == (
            100,
            512,
            0.2,
            (30, 60, 90),
        )
    betas = {
        row.student: row.loss.params["beta"] for row in SUITES["dkd_imagenet"].rows if row.loss.name == "dkd"
    }
    assert betas == {"resnet18_224": 0.5, "mobilenetv1_224": 2}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_trained_says_why_and_all_else_has_runs(name: str) -> None:
    cells = expand(SUITES[name], seeds=[0])
    assert {cell.row.name for cell in cells if not cell.runs} == {
        row.name for row in SUITES[name].rows if row.untrained
    }
