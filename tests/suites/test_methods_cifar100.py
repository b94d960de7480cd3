"""suites/methods_cifar100: the rows of nightly_methods, and CTKD's, trained for longer; what is stored."""

import re

from msgspec.structs import replace

from kdbench.plan.expand import expand
from kdbench.store.records import index, load_results
from kdbench.suite.load import load_suite
from tests.support.places import ROOT

SUITE = load_suite(ROOT / "suites" / "methods_cifar100.toml")
NIGHTLY = load_suite(ROOT / "suites" / "nightly_methods.toml")
CELLS = {cell.row.table: cell for cell in expand(SUITE)}
SEEDS = 1
"""That are trained so far, of the suite's three."""


def test_methods_have_the_parameters_of_the_nightly_suite() -> None:
    """CTKD came later and has none there."""
    nightly = {row.table: row for row in NIGHTLY.rows}
    for row in SUITE.rows:
        if not row.table.startswith("ctkd"):
            assert row.loss == nightly[row.table].loss
            assert (row.student, row.teacher) == (nightly[row.table].student, nightly[row.table].teacher)


def test_rows_differ_in_their_loss_alone() -> None:
    taught = [cell.runs[0] for cell in CELLS.values() if cell.runs[0].teacher is not None]
    assert {replace(run, loss=taught[0].loss).id for run in taught} == {taught[0].id}
    assert len({run.id for run in taught}) == len(taught) == 17


def test_trained_seeds_are_stored_whole() -> None:
    ids = [of for cell in CELLS.values() for of in cell.ids[:SEEDS]]
    stored = load_results(index(ROOT / "results"), ids)
    assert stored.keys() == set(ids)
    assert {len(result.curve.top1) for result in stored.values()} == {30}


def test_gains_of_the_docs_are_those_of_the_stored_runs() -> None:
    """Means over the seeds that are trained, to two digits."""
    stored = load_results(index(ROOT / "results"), [cell.ids[0] for cell in CELLS.values()])
    last = {table: stored[cell.ids[0]].last for table, cell in CELLS.items()}
    text = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8").split("until they differ")[1]
    printed = {table: float(gain) for table, gain in re.findall(r"`(\w+)` \| ([+-][\d.]+)", text)}
    gains = {table: round(top1 - last["kd"], 2) for table, top1 in last.items()}
    assert printed == {table: gains[table] for table, cell in CELLS.items() if cell.row.over}
