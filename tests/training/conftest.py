"""Contexts on this machine's CPU, in which runs on the digits are trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench import catalog
from kdbench.catalog import ModelEntry
from kdbench.training.context import TrainingContext
from tests.support.training import TEACHER, Opened, copied_to, kept_of, open_digits


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A context of the CPU makes the whole process deterministic: the next test finds it as torch has it."""
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where data are packed once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def opened(data: Path, tmp_path: Path) -> Opened:
    """Opens contexts that share the data and nothing else, by the name of their folder and `[local]`."""

    def make(name: str = "here", **local: Any) -> TrainingContext:  # noqa: ANN401 - of benchmark.toml
        (tmp_path / name).mkdir(exist_ok=True)
        return open_digits(tmp_path / name, data, **local)

    return make


@pytest.fixture
def context(opened: Opened) -> TrainingContext:
    return opened()


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a context keeps of the teacher, trained once for all tests."""
    return kept_of([TEACHER], tmp_path_factory.mktemp("teacher"), data)


@pytest.fixture
def digits_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of this name: the small student with dropout."""
    entry = ModelEntry(code="tests.support.training:digits_dropout", least_size=8)
    monkeypatch.setitem(catalog.MODELS, "digits_dropout", entry)


@pytest.fixture
def with_teacher(opened: Opened, trained: Path) -> Opened:
    """As `opened`; the teacher is trained in each."""
    return copied_to(opened, trained)
