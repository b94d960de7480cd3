"""The MNIST suites of Hinton, Müller and Pereyra: their committed results are judged, and come out again."""

from pathlib import Path

import pytest
import torch

from kdbench.machine import Data, Folders, Local, Machine
from kdbench.plan.expand import expand
from kdbench.store.records import index, load_results
from kdbench.suite.load import load_suite
from kdbench.training.checkpoint import Progress
from kdbench.training.context import environment, open_context
from kdbench.training.run import train
from tests.support.data import unpack_real_mnist
from tests.support.places import ROOT, SUITES
from tests.support.training import Interrupted

STORED = index(ROOT / "results")
SAME = ("cpu", "torch", "threads", "device")
"""Facts of a result: where they are equal, so is every accuracy."""


@pytest.mark.parametrize(
    ("suite", "rows", "runs"),
    [
        ("hinton_mnist", "*", 27),
        ("muller_mnist", "*", 20),
        ("pereyra_mnist", "*", 9),
    ],
)
def test_row_has_a_stored_result_of_each_seed(suite: str, rows: str, runs: int) -> None:
    cells = expand(load_suite(SUITES / suite), rows=rows)
    ids = {of for cell in cells for of in cell.ids}
    assert len(ids) == runs
    assert load_results(STORED, ids).keys() == ids


@pytest.mark.real
def test_first_epoch_of_the_student_alone_comes_out_again(tmp_path: Path) -> None:
    unpack_real_mnist(tmp_path / "data")
    (cell,) = expand(load_suite(SUITES / "hinton_mnist"), rows="alone/*", seeds=[0])
    run, found = cell.runs[0], []

    def stop(progress: Progress) -> None:
        found.append(progress.top1[0])
        raise Interrupted

    before = torch.get_deterministic_debug_mode()
    data = Data(folder=str(tmp_path / "data"), offline=True)
    machine = Machine(local=Local(device="cpu"), data=data, folders=Folders(), root=str(tmp_path))
    context = open_context(machine)
    with pytest.raises(Interrupted):
        train(run, context, watch=stop)
    here = environment(context)
    torch.set_deterministic_debug_mode(before)
    stored = load_results(STORED, [run.id])[run.id]
    if all(here[fact] == stored.environment[fact] for fact in SAME):
        assert found == [stored.curve.top1[0]]
    assert abs(found[0] - stored.curve.top1[0]) <= 1.0
