"""All that is stored, as pandas frames."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import kdbench
from tests.support.places import ROOT
from tests.support.project import AS_PRINTED

pytestmark = pytest.mark.filterwarnings("default")


def test_results_have_a_line_for_each_run(stored: Path) -> None:
    frame = kdbench.results()
    assert len(frame) == 6
    kd = frame[frame["teacher"] == "digits_cnn"]
    assert list(kd["student"]) == ["digits_mlp", "digits_mlp"]
    assert list(kd["loss.tau"]) == [4.0, 4.0]
    assert list(kd["teacher_epoch"]) == [3, 3]
    assert frame["teacher_epoch"].isna().sum() == 4
    assert sorted(kd["seed"]) == [0, 1]
    assert set(kd["last"]) == {AS_PRINTED["1.kd/digits_mlp:digits_cnn"]}
    assert frame.equals(kdbench.results(stored / "results"))


def test_curves_have_a_line_for_each_epoch_and_lead_to_the_results(stored: Path) -> None:
    del stored
    frame = kdbench.curves()
    assert len(frame) == 6 * 3
    assert list(frame["epoch"][:3]) == [1, 2, 3]
    assert set(frame["id"]) == set(kdbench.results()["id"])


def test_empty_folder_gives_an_empty_frame(project: Path) -> None:
    assert len(kdbench.results(project / "nothing")) == 0


def test_without_pandas_it_says_what_to_install(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del stored
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(kdbench.UserError, match=r"pip install 'kdbench\[notebook\]'"):
        kdbench.results()


NOTEBOOK = ROOT / "docs" / "reading-results.ipynb"


def printed(cell: dict[str, Any]) -> str:
    """What a cell of a notebook is kept to have printed."""
    streams = [each["text"] for each in cell["outputs"] if each["output_type"] == "stream"]
    return "".join(line for text in streams for line in text)


@pytest.mark.slow
def test_notebook_of_the_docs_gives_what_it_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cells, one after the other in docs/, on the results that are in git."""
    from matplotlib import pyplot as plt

    monkeypatch.chdir(NOTEBOOK.parent)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    scope: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)  # noqa: S102 - as Jupyter does
            assert capsys.readouterr().out == printed(cell)
    assert len(scope["figure"].axes[0].lines) == 4  # type: ignore[attr-defined]
    plt.close()
    assert NOTEBOOK.stat().st_size < 100_000
