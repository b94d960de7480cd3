"""The suites of Lopez-Paz et al.: their committed results are whole, are judged, and come out again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kdbench.machine import Data, Folders, Local, Machine
from kdbench.plan.expand import expand, make_plan
from kdbench.spec.runs import Run
from kdbench.spec.verdicts import Word
from kdbench.store.records import load_results
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.run import train
from kdbench.verdict.check import check_suite
from tests.support.data import unpack_real_mnist
from tests.support.suites import committed, shipped

SAME = ("cpu", "torch", "threads", "device")
"""Facts of a result: where they are equal, so is every accuracy."""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[TrainingContext]:
    before = torch.get_deterministic_debug_mode()
    data = Data(folder=str(tmp_path / "data"), offline=True)
    yield open_context(Machine(local=Local(device="cpu"), data=data, folders=Folders(), root=str(tmp_path)))
    torch.set_deterministic_debug_mode(before)


def words(suite: str, rows: str) -> dict[str, Word]:
    cells = expand(shipped(suite), rows=rows)
    results = load_results(committed(), {of for cell in cells for of in cell.ids})
    return {check.row.name: check.top1.word for check in check_suite(cells, results)}


def is_found_again(run: Run, context: TrainingContext) -> None:
    """Train a run and its teacher: the stored curve on the same processor, else one near it."""
    assert run.teacher is not None
    stored = load_results(committed(), [run.id])[run.id]
    train(run.teacher.run, context, keep=(run.teacher.epoch,))
    again = train(run, context)
    if all(again.environment[fact] == stored.environment[fact] for fact in SAME):
        assert again.curve.top1 == stored.curve.top1
    assert abs(again.last - stored.last) <= 3.0


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "networks"), [("lopezpaz_mnist", 1760), ("lopezpaz_synthetic", 1500)])
def test_every_run_has_a_stored_result(suite: str, networks: int) -> None:
    plan = make_plan(expand(shipped(suite)))
    assert len(plan) == networks
    assert len(load_results(committed(), [run.id for run in plan])) == len(plan)


def test_mnist_teachers_and_means_have_the_verdicts_of_the_report() -> None:
    found = words("lopezpaz_mnist", "?00.[tm]*")
    assert found == {
        "300.teacher/mlp_784_20_20": Word.REPRODUCED,
        "300.mean/mlp_49_20_20+alone": Word.CONSISTENT,
        "300.mean/mlp_49_20_20+distilled": Word.CONSISTENT,
        "500.teacher/mlp_784_20_20": Word.REPRODUCED,
        "500.mean/mlp_49_20_20+alone": Word.CONSISTENT,
        "500.mean/mlp_49_20_20+distilled": Word.REPRODUCED,
    }


@pytest.mark.slow
def test_a_synthetic_row_comes_out_again(context: TrainingContext) -> None:
    (cell,) = expand(shipped("lopezpaz_synthetic"), rows="3.distilled/*", seeds=[0])
    is_found_again(cell.runs[0], context)


@pytest.mark.real
def test_a_cell_of_mnist_comes_out_again(context: TrainingContext, tmp_path: Path) -> None:
    unpack_real_mnist(tmp_path / "data")
    (cell,) = expand(shipped("lopezpaz_mnist"), rows="500.T10/*+lambda0.5", seeds=[4])
    is_found_again(cell.runs[0], context)
