"""suites/nightly_methods: a row for every method, whose references are what results/cifar100 holds."""

import re
from statistics import mean, stdev

import pytest
from msgspec.structs import replace

from kdbench.plan.expand import expand
from kdbench.store.records import load_results
from kdbench.verdict.stats import t_quantile
from tests.support.places import ROOT
from tests.support.suites import committed, shipped

SUITE = shipped("nightly_methods")
CELLS = {cell.row.table: cell for cell in expand(SUITE)}


def accuracies(table: str) -> list[float]:
    """Of the stored runs of a row, seed by seed."""
    ids = CELLS[table].ids
    stored = load_results(committed(), ids)
    return [stored[name].last for name in ids]


def gains(table: str) -> list[float]:
    """Of a row over the row that it is held against, seed by seed."""
    over = accuracies("kd" if CELLS[table].row.over else "baseline")
    return [ours - theirs for ours, theirs in zip(accuracies(table), over, strict=True)]


def test_every_distiller_and_loss_of_logits_of_the_tables_has_a_row() -> None:
    """Those of the field's tables; one that is added later needs no training of the night's."""
    losses = {"hinton_kd", "dist", "kd_ls", "confidence_penalty", "ce"}
    distillers = {"dkd", "dkd_ls", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "nst", "crd", "crd_kd"}
    assert {row.loss.name for row in SUITE.rows} >= distillers | losses | {"ctkd", "ctkd_ls"}


def test_one_teacher_teaches_all() -> None:
    taught = [run for cell in CELLS.values() for run in cell.runs if run.teacher is not None]
    assert len({run.teacher.run.id for run in taught if run.teacher}) == 1
    assert len(taught) == 17 * 3


def test_rows_differ_in_their_loss_alone() -> None:
    taught = [cell.runs[0] for cell in CELLS.values() if cell.runs[0].teacher is not None]
    assert {replace(run, loss=taught[0].loss).id for run in taught} == {taught[0].id}
    assert len({run.id for run in taught}) == len(taught)


def test_stored_runs_are_whole() -> None:
    ids = [of for cell in CELLS.values() for of in cell.ids]
    stored = load_results(committed(), ids)
    assert stored.keys() == set(ids)
    assert {len(result.curve.top1) for result in stored.values()} == {30}


@pytest.mark.parametrize("table", CELLS)
def test_references_are_those_of_the_stored_runs(table: str) -> None:
    reference, values = CELLS[table].row.reference, accuracies(table)
    assert reference.top1 == pytest.approx(mean(values), abs=0.005)
    if len(values) > 1:
        assert reference.n == len(values)
        assert reference.std == pytest.approx(stdev(values), abs=0.005)
    if reference.gain is not None:
        gain = pytest.approx(
            mean(gains(table)), abs=0.0101
        )  # the reference is a difference of rounded numbers
        assert reference.gain == gain
        assert reference.gain_std == pytest.approx(stdev(gains(table)), abs=0.005)


def test_gains_of_the_docs_are_those_of_the_stored_runs() -> None:
    """Means over the seeds and half their 90 % intervals (Student's t), to two digits."""
    text = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8").split("## The methods")[1]
    printed = re.findall(r"`(\w+)` \| ([+-][\d.]+) ± ([\d.]+)", text)
    expected = {}
    for table, cell in CELLS.items():
        if cell.row.over:
            half = t_quantile(len(gains(table)) - 1, 0.05) * stdev(gains(table)) / len(gains(table)) ** 0.5
            expected[table] = (f"{mean(gains(table)):+.2f}", f"{half:.2f}")
    assert {table: (gain, half) for table, gain, half in printed} == expected
