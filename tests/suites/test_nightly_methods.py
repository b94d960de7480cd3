"""suites/nightly_methods: a row for every method, whose references are what results/cifar100 holds."""

from statistics import mean, stdev

import pytest

from kdbench.plan.expand import expand
from kdbench.store.records import index, load_results
from kdbench.suite.load import load_suite
from tests.support.places import ROOT

SUITE = load_suite(ROOT / "suites" / "nightly_methods.toml")
CELLS = {cell.row.table: cell for cell in expand(SUITE)}


def accuracies(table: str) -> list[float]:
    """Of the stored runs of a row, seed by seed."""
    ids = CELLS[table].ids
    stored = load_results(index(ROOT / "results"), ids)
    return [stored[name].last for name in ids]


def test_every_distiller_and_loss_of_logits_of_the_tables_has_a_row() -> None:
    """Those of the field's tables; one that is added later needs no training of the night's."""
    losses = {"hinton_kd", "dist", "kd_ls", "confidence_penalty", "ce"}
    distillers = {"dkd", "dkd_ls", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "nst", "crd", "crd_kd"}
    assert {row.loss.name for row in SUITE.rows} >= distillers | losses


def test_one_teacher_teaches_all() -> None:
    taught = [run for cell in CELLS.values() for run in cell.runs if run.teacher is not None]
    assert len({run.teacher.run.id for run in taught if run.teacher}) == 1
    assert len(taught) == 15 * 3


@pytest.mark.parametrize("table", CELLS)
def test_references_are_those_of_the_stored_runs(table: str) -> None:
    reference, values = CELLS[table].row.reference, accuracies(table)
    assert reference.top1 == pytest.approx(mean(values), abs=0.005)
    if len(values) > 1:
        assert reference.n == len(values)
        assert reference.std == pytest.approx(stdev(values), abs=0.005)
    if reference.gain is not None:
        over = accuracies("kd" if CELLS[table].row.over else "baseline")
        gains = [ours - theirs for ours, theirs in zip(values, over, strict=True)]
        assert reference.gain == pytest.approx(mean(gains), abs=0.0101), "a difference of rounded numbers"
        assert reference.gain_std == pytest.approx(stdev(gains), abs=0.005)
