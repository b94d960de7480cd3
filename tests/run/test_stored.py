"""Results in Python lead to the weights and the predictions that were kept beside them."""

import re
from pathlib import Path
from shutil import copytree

import pytest
import torch
from msgspec.structs import replace

import kdbench
from kdbench.models.build import build_network
from kdbench.run.stored import StoredResult
from kdbench.spec.suites import Cell
from tests.support.places import ROOT
from tests.support.project import FEW_IMAGES, change, make_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a run was trained."""
    folder = tmp_path_factory.mktemp("trained")
    make_project(folder, change(FEW_IMAGES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KDBENCH_DATA", str(folder / "data"))
        kdbench.train(one_run()[0].runs[0])
    return folder


def one_run() -> tuple[Cell, ...]:
    """A row of one seed of the project in the current folder."""
    return kdbench.expand(kdbench.load_suite("suites/small"), rows="1.base/digits_mlp", seeds=[0])


@pytest.fixture
def cells(project: Path, trained: Path) -> tuple[Cell, ...]:
    """In a copy of that project."""
    copytree(trained, project, dirs_exist_ok=True)
    return one_run()


@pytest.fixture
def result(cells: tuple[Cell, ...]) -> StoredResult:
    return kdbench.train(cells[0].runs[0])


def test_weights_and_predictions_of_a_result_give_its_accuracies(
    result: StoredResult, cells: tuple[Cell, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """By the example of the docs."""
    example = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )[-1]
    results = kdbench.train_all(cells)
    exec(example, {"cells": cells, "results": results})  # noqa: S102 - what a reader does with it
    best, measured = map(float, capsys.readouterr().out.split())
    assert measured == pytest.approx(best)
    network = build_network("digits_mlp", 10, 1)
    assert network.load_state_dict(result.load_weights()).missing_keys == []
    assert not torch.equal(network.state_dict()["body.1.weight"], torch.zeros(32, 64))
    assert result.predictions("last") == result.predictions(3)


def test_stored_record_leads_there_too(result: StoredResult, project: Path) -> None:
    (path,) = (project / "results" / "digits").glob("digits_mlp-ce.*.json")
    found = kdbench.load_result(str(path))
    assert found == result
    assert found.labels() == result.labels()


def test_epoch_that_was_not_kept_is_refused_with_those_that_were(result: StoredResult) -> None:
    with pytest.raises(kdbench.UserError, match=r"digits_mlp-ce seed 0: epoch 1 was not kept; kept: 3, best"):
        result.load_weights(1)


@pytest.mark.parametrize("what", ["weights", "predictions"])
def test_what_is_on_another_machine_or_damaged_is_refused(
    result: StoredResult, project: Path, what: str
) -> None:
    read = result.load_weights if what == "weights" else result.predictions
    with pytest.raises(kdbench.UserError, match=r"not here or damaged; weights and predictions stay on"):
        read(scratch=project / "elsewhere")
    for path in (project / ".kdbench" / what).rglob("3.*"):
        path.write_bytes(b"other")
    with pytest.raises(kdbench.UserError, match=r"rerun=True\) makes them anew"):
        read()


def test_result_without_predictions_says_so(result: StoredResult) -> None:
    with pytest.raises(kdbench.UserError, match="epoch last was not kept; kept: none"):
        replace(result, predicted={}).predictions()
