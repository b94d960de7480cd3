"""The MNIST suites of Hinton, Müller and Pereyra: their committed results are judged, and come out again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kdbench.machine import Data, Folders, Local, Machine
from kdbench.plan.expand import expand
from kdbench.store.records import load_results
from kdbench.training.checkpoint import Progress
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.environment import environment
from kdbench.training.run import train
from tests.support.data import unpack_real_mnist
from tests.support.suites import committed, shipped
from tests.support.training import Interrupted

SAME = ("cpu", "torch", "threads", "device")
"""Facts of a result: where they are equal, so is every accuracy."""


@pytest.mark.parametrize(
    ("suite", "runs"), [("hinton_mnist", 27), ("muller_mnist", 20), ("pereyra_mnist", 9)]
)
def test_row_has_a_stored_result_of_each_seed(suite: str, runs: int) -> None:
    ids = {of for cell in expand(shipped(suite)) for of in cell.ids}
    assert len(ids) == runs
    assert load_results(committed(), ids).keys() == ids


@pytest.fixture
def context(tmp_path: Path) -> Iterator[TrainingContext]:
    unpack_real_mnist(tmp_path / "data")
    before = torch.get_deterministic_debug_mode()
    data = Data(folder=str(tmp_path / "data"), offline=True)
    yield open_context(Machine(local=Local(device="cpu"), data=data, folders=Folders(), root=str(tmp_path)))
    torch.set_deterministic_debug_mode(before)


def found_again(suite: str, row: str, epochs: int, context: TrainingContext) -> None:
    """So many epochs of a row's first seed: the stored curve on the same processor, else one near it."""
    (cell,) = expand(shipped(suite), rows=row, seeds=[0])
    found: list[float] = []

    def stop(progress: Progress) -> None:
        found[:] = progress.top1
        if len(found) == epochs:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(cell.runs[0], context, watch=stop)
    here = environment(context.device)
    stored = load_results(committed(), cell.ids)[cell.ids[0]]
    curve = list(stored.curve.top1[:epochs])
    if all(here[fact] == stored.environment[fact] for fact in SAME):
        assert found == curve
    assert abs(found[-1] - curve[-1]) <= 1.0


@pytest.mark.real
@pytest.mark.parametrize(
    ("suite", "row"),
    [
        ("hinton_mnist", "alone/*"),
        ("muller_mnist", "smoothing/*"),
        ("pereyra_mnist", "1.smoothing/*"),
    ],
)
def test_first_epoch_of_a_cell_comes_out_again(suite: str, row: str, context: TrainingContext) -> None:
    found_again(suite, row, 1, context)


@pytest.mark.slow
@pytest.mark.real
def test_curve_of_the_student_alone_comes_out_again(context: TrainingContext) -> None:
    found_again("hinton_mnist", "alone/*", 8, context)
