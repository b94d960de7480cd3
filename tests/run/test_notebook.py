"""Training from Python: what is stored is used, progress is shown, the example of docs/python.md works."""

import re
from pathlib import Path

import pytest

import kdbench
from kdbench.plan.expand import expand
from kdbench.suite.load import load_suite
from tests.support.places import ROOT
from tests.support.project import FEW_IMAGES, change, store, write_suite


@pytest.mark.filterwarnings("default")
def test_example_of_the_docs_uses_what_is_stored(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "suites" / "quickstart.toml").write_bytes((ROOT / "suites" / "quickstart.toml").read_bytes())
    rows = {row.name: 93.0 for row in load_suite("suites/quickstart").rows}
    store(project, project / "suites" / "quickstart.toml", rows)
    before = sorted(project.rglob("*.json"))
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    example = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[:2])
    exec(example, {})  # noqa: S102 - what a reader does with it
    output = capsys.readouterr()
    assert "3 runs stored, 0 to train" in output.err
    assert "digits_mlp" in output.out
    assert sorted(project.rglob("*.json")) == before


def test_train_all_trains_what_is_missing_teachers_first_and_shows_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_suite(project, change(FEW_IMAGES))
    store(project, path, {"1.base/digits_mlp": 90.0})
    cells = expand(load_suite(path), rows="1.kd/*", seeds=[0])
    results = kdbench.train_all(cells)
    output = capsys.readouterr().err.splitlines()
    assert output[0] == "0 runs stored, 2 to train"
    assert [line.split(":")[0] for line in output[1:]] == [
        "[1/2] digits_cnn-ce seed 0",
        "[2/2] digits_mlp-kd_released-digits_cnn seed 0",
    ]
    assert set(results) == {*cells[0].ids, *cells[0].baselines}
    assert kdbench.check_suite(cells, results)[0].gain.n == 1


def test_train_gives_the_stored_result_and_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_suite(project, change(FEW_IMAGES))
    run = store(project, path, {"1.base/digits_mlp": 90.0})[0]
    assert kdbench.train(run).last == 90.0
    assert capsys.readouterr().err == "digits_mlp-ce seed 0: stored, not trained again\n"
    again = kdbench.train(run, rerun=True)
    assert again.last != 90.0
    assert len(list((project / "results" / "digits").glob(f"*{run.id}*.json"))) == 2


def test_runs_of_settings_lie_with_the_trials_and_the_suites_own_baseline_does_not(project: Path) -> None:
    suite = load_suite(write_suite(project, change(FEW_IMAGES)))
    (cell,) = expand(suite, rows="1.kd/*", seeds=[0], settings={"tau": 2.0}, smoke=False)
    kdbench.train_all([cell])
    assert cell.trials == {*cell.ids}
    assert [path.stem.rpartition(".")[2] for path in project.glob("results/trials/*/*.json")] == [*cell.ids]
    kept = {path.name.partition(".")[0] for path in project.glob("results/digits/*.json")}
    assert kept == {"digits_cnn-ce"}

    run = expand(suite, rows="1.base/digits_mlp", seeds=[0], settings={"epochs": 1})[0].runs[0]
    kdbench.train(run, trial=True)
    assert list(project.glob(f"results/trials/*/*{run.id}.json"))
