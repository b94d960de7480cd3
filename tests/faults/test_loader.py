"""A thread that makes views dies: the run fails by its cause, nobody hangs, and the next try goes on."""

from itertools import count
from pathlib import Path

import pytest
from torch import Tensor

from kdbench.data.boxes import Framing, centre
from kdbench.training.context import TrainingContext
from tests.support.faults.project import digits, epochs, events, failure, numbers
from tests.support.training import open_digits

RUN = digits(size=8, flip=True)
VIEWS = 64
"""Of an epoch."""


def test_loader_that_dies_is_the_failure_of_its_run_and_the_next_try_goes_on(
    context: TrainingContext, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = count(1)

    def breaks(image: Tensor, framing: Framing) -> Tensor:
        if next(looked) == 3 * VIEWS:  # 64 training and 64 test images make an epoch: in the second one
            raise OSError("a bad disk")
        return centre(image, framing)

    monkeypatch.setattr("kdbench.data.crops.centre", breaks)
    emitted = events(context, RUN)
    assert "a bad disk" in failure(emitted).failure.cause
    monkeypatch.undo()
    rerun = events(context, RUN)
    assert (epochs(emitted), epochs(rerun)) == ([1], [2, 3, 4])
    assert numbers(rerun) == numbers(events(open_digits(tmp_path / "undisturbed", data), RUN))
