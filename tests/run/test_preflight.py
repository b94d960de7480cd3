"""What is refused before anything is trained."""

from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.machine import Local, Machine
from kdbench.spec.runs import Precision
from kdbench.training.device import check_device
from tests.support.command import Command

TF32 = "precision tf32 is arithmetic of GPUs"


@pytest.mark.parametrize(
    ("device", "precision", "why"),
    [("cpu", "tf32", TF32), ("cuda:99", "float32", r"benchmark\.toml, \[local\], device = 'cuda:99'")],
)
def test_device_that_cannot_train_is_refused(device: str, precision: Precision, why: str) -> None:
    with pytest.raises(UserError, match=why):
        list(check_device(Machine(local=Local(device=device)), [precision]))


@pytest.mark.slow
def test_device_that_cannot_train_is_refused_before_results_are_made(kdbench: Command, project: Path) -> None:
    (project / "benchmark.toml").write_text('[local]\ndevice = "cpu"\n', encoding="utf-8")
    done = kdbench("run", "suites/small", "--precision", "tf32")
    assert (done.code, done.out, done.err.count("error: ")) == (2, "", 1)
    assert TF32 in done.err
    assert not (project / "results").exists()
