"""A user's own loss and model, from an installed package: no fork of kdbench."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kdbench import catalog
from kdbench.machine import Machine
from kdbench.plan.expand import expand, make_plan
from kdbench.suite.load import load_suite
from kdbench.training.context import open_context
from kdbench.training.run import train

POINTS = """
[kdbench.losses]
focal = mine:FOCAL

[kdbench.models]
linear = mine:LINEAR
"""

MODULE = """
from torch import nn
from torch.nn.functional import cross_entropy

from kdbench.catalog import LossEntry, ModelEntry
from kdbench.models.output import Network

FOCAL = LossEntry(code="mine:focal", params=("gamma",), formula="(1 - p)^γ H(q, p)")
LINEAR = ModelEntry(code="mine:linear", least_size=8)


def focal(s, y, *, gamma):
    each = cross_entropy(s.logits, y, reduction="none")
    return ((1 - (-each).exp()) ** gamma * each).mean()


def linear(classes, channels):
    return Network(nn.Sequential(nn.Flatten()), nn.Linear(channels * 64, classes))
"""

SUITE = """
[suite]
paper = "A paper"
dataset = "digits"
[tolerance]
top1 = 1
gain = 1
[recipe]
epochs = 3
batch_size = 32
lr = 0.1
[[table]]
id = "1"
loss = { name = "focal", gamma = 2 }
rows = [{ student = "linear" }]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package beside kdbench that offers a loss and a model."""
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog._plugins.cache_clear()  # noqa: SLF001 - installed while the process runs, as pip never does
    yield
    catalog._plugins.cache_clear()  # noqa: SLF001


@pytest.mark.usefixtures("installed")
def test_installed_loss_and_model_are_listed_after_the_built_in_ones() -> None:
    assert catalog.names("losses")[-1] == "focal"
    assert catalog.names("models")[-1] == "linear"


@pytest.mark.usefixtures("installed")
def test_row_of_an_installed_loss_and_model_trains(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    [run] = make_plan(expand(load_suite(tmp_path / "suite")))
    result = train(run, open_context(Machine(root=str(tmp_path))))
    assert result.last > 70
    assert result.run.loss.params == {"gamma": 2.0}


def test_name_of_a_package_that_is_not_installed_is_unknown() -> None:
    with pytest.raises(LookupError, match="unknown loss 'focal'"):
        catalog.find("losses", "focal")
