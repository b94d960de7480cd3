"""The suites of DKD and DIST on CIFAR-100: every printed value once; what they share with CRD's benchmark.

tests/golden/dkd_dist.csv holds the values as they were read; nothing here takes a number from the suites.
"""

import pytest

from kdbench.plan.expand import expand, make_plan
from kdbench.spec.suites import Suite
from tests.support.places import golden_lines
from tests.support.suites import shipped

SUITES = {name: shipped(f"{name.lower()}_cifar100") for name in ("CRD", "DKD", "DIST")}
LINES = golden_lines("dkd_dist")
NAMES = {
    "wrn402": "wrn_40_2",
    "wrn401": "wrn_40_1",
    "wrn162": "wrn_16_2",
    "resnet50": "resnet50_crd",
    "mobilenetv2": "mobilenetv2_crd",
    "shufflenetv2": "shufflenetv2_crd",
}
BETAS = {
    "resnet56": 2, "resnet110": 2, "vgg13": 6, "wrn_40_2": 6, "resnet32x4": 8, "resnet50_crd": 8,
}  # fmt: skip
"""DKD's, by teacher; ShuffleNetV1 from wrn_40_2 has 8 (configs/cifar100/dkd)."""


def model(name: str) -> str:
    plain = name.lower().replace("-", "")
    return NAMES.get(plain, plain)


def address(line: dict[str, str]) -> str:
    student = "shufflenetv2_crd" if "header" in line["note"] else model(line["student"])
    table = line["table"] if line["paper"] == "DIST" else f"{line['table']}.{line['method'].lower()}"
    return f"{table}/{student}:{model(line['teacher'])}"


@pytest.mark.parametrize(("paper", "cells"), [("DKD", 22), ("DIST", 6)])
def test_every_printed_value_stands_once(paper: str, cells: int) -> None:
    printed = {
        address(line): (float(line["acc"]), float(line["std"]) if line["std"] else None)
        for line in LINES
        if line["paper"] == paper
    }
    taught = [row for row in SUITES[paper].rows if row.teacher]
    assert {row.name: (row.reference.top1, row.reference.std) for row in taught} == printed
    assert len(printed) == len(taught) == cells


def test_baselines_of_dist_are_those_printed_beside_its_values() -> None:
    alone = {row.student: row.reference.top1 for row in SUITES["DIST"].rows if not row.teacher}
    for line in LINES:
        if line["paper"] == "DIST":
            student, teacher = model(line["student"]), model(line["teacher"])
            assert line["note"] == f"student baseline {alone[student]:.2f}, teacher {alone[teacher]:.2f}"


def test_weights_of_dkd_are_those_of_its_configurations() -> None:
    rows = [row for row in SUITES["DKD"].rows if row.loss.name == "dkd"]
    assert len(rows) == 11
    for row in rows:
        beta = 8 if row.student == "shufflenetv1" else BETAS[str(row.teacher_student)]
        assert row.loss.params == {"alpha": 1, "beta": beta, "tau": 4, "warmup": 20}
        assert row.report_epoch == "best"


def runs(suite: Suite, loss: str) -> set[str]:
    cells = [cell for cell in expand(suite) if cell.row.loss.name == loss]
    return {run.id for cell in cells for run in make_plan(cells)} if cells else set()


@pytest.mark.parametrize(("paper", "loss"), [("DKD", "hinton_kd"), ("DKD", "ce"), ("DIST", "ce")])
def test_copied_cells_are_the_runs_of_crds_benchmark(paper: str, loss: str) -> None:
    """KD and the baselines, teachers too: whoever has trained one suite has them for the others."""
    ours = runs(SUITES[paper], loss)
    assert ours
    assert ours <= runs(SUITES["CRD"], loss)
