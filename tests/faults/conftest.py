"""A context whose data are fetched once for all tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kdbench.training.context import TrainingContext
from tests.support.training import open_digits


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def context(tmp_path: Path, data: Path) -> Iterator[TrainingContext]:
    before = torch.get_deterministic_debug_mode()
    yield open_digits(tmp_path, data)
    torch.set_deterministic_debug_mode(before)
