"""Data sets that stay open from run to run."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.data.opened import OpenDatasets
from kdbench.machine import Data, Machine
from tests.support.build import make_run


def opened(data: Path) -> OpenDatasets:
    return OpenDatasets(Machine(data=Data(folder=str(data), offline=True), root=str(data)))


def test_dataset_stays_open(tmp_path: Path) -> None:
    data = opened(tmp_path)
    assert data.named("digits") is data.named("digits")


def test_generated_data_of_the_last_few_seeds_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.data.opened.GENERATED", 2)
    data = opened(tmp_path)
    runs = [replace(make_run("logistic", seed), dataset="synthetic1") for seed in range(3)]
    first = [data.of(run) for run in runs[:-1]]
    assert all(data.of(run) is known for run, known in zip(runs, first, strict=False))
    data.of(runs[-1])
    assert data.of(runs[1]) is first[1]
    assert data.of(runs[0]) is not first[0]
