"""Training from Python: what is stored is used, progress is shown, the example of docs/python.md works."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import kdbench
from kdbench.errors import UserError
from kdbench.plan.expand import expand
from kdbench.suite.load import load_suite
from tests.support.places import ROOT
from tests.support.project import FEW_IMAGES, change, store, write_suite

Call = Callable[[], object]


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


def test_completion_offers_the_functions_before_they_are_imported() -> None:
    assert set(kdbench.__all__) <= set(dir(kdbench))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"variant": "Released"}, "unknown variant 'Released'. Did you mean 'released'?"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        *(
            ({"seeds": seeds}, f"seeds = {seeds!r}: expected whole numbers from 0 to 999,999,999")
            for seeds in ("0", "0-2", [-1], [0.5], [True], [10**9], 3)
        ),
        ({"rows": 3}, "rows = 3: expected globs over row names"),
        ({"settings": "epochs=5"}, "settings = 'epochs=5': expected settings by their names"),
        ({"settings": {3: 1}}, "settings = {3: 1}: expected settings by their names"),
    ],
)
def test_options_that_expand_does_not_know_are_refused(
    project: Path, options: dict[str, Any], says: str
) -> None:
    suite = load_suite(write_suite(project))
    with pytest.raises(UserError) as error:
        expand(suite, **options)
    assert error.value.problems[0].startswith(says)


def test_seed_that_is_named_twice_is_trained_once(project: Path) -> None:
    cells = expand(load_suite(write_suite(project)), seeds=[1, 0, 1])
    assert [[run.seed for run in cell.runs] for cell in cells] == [[1, 0]] * 3


def test_functions_refuse_what_is_another_thing_than_they_take(project: Path) -> None:
    suite = load_suite(write_suite(project))
    cells = expand(suite)
    calls: list[tuple[str, Call]] = [
        ("path", lambda: kdbench.load_suite(3)),  # type: ignore[arg-type]
        ("suite", lambda: kdbench.expand("quickstart")),  # type: ignore[arg-type]
        ("suite", lambda: kdbench.lint_suite("quickstart")),  # type: ignore[arg-type]
        ("cells", lambda: kdbench.train_all("kd")),  # type: ignore[arg-type]
        ("cells", lambda: kdbench.make_plan(suite)),  # type: ignore[arg-type]
        ("cells", lambda: kdbench.check_suite(suite, {})),  # type: ignore[arg-type]
        ("results", lambda: kdbench.check_suite(cells, [])),  # type: ignore[arg-type]
        ("results", lambda: kdbench.check_suite(cells, {cells[0].ids[0]: 90.0})),  # type: ignore[dict-item]
        ("run", lambda: kdbench.train(cells[0])),  # type: ignore[arg-type]
        ("context", lambda: kdbench.train(cells[0].runs[0], "cuda")),  # type: ignore[arg-type]
        ("runs", lambda: kdbench.weights_needed(cells)),  # type: ignore[arg-type]
        ("checks", lambda: kdbench.render(suite, cells)),  # type: ignore[arg-type]
        ("findings", lambda: kdbench.render(suite, [], "pdf")),  # type: ignore[arg-type]
        ("unknown format 'pdf'", lambda: kdbench.render(suite, [], format="pdf")),
        ("unknown variant 'x'", lambda: kdbench.render(suite, [], variant="x")),  # type: ignore[arg-type]
        ("folder", lambda: kdbench.results(3)),  # type: ignore[arg-type]
        ("folder", lambda: kdbench.save_result(3, cells)),  # type: ignore[arg-type]
        ("result", lambda: kdbench.save_result("results", cells)),  # type: ignore[arg-type]
        ("path", lambda: kdbench.load_result(3)),  # type: ignore[arg-type]
    ]
    for says, call in calls:
        with pytest.raises(UserError, match=f"^{says}"):
            call()


def test_run_that_no_record_can_hold_is_not_trained(project: Path) -> None:
    (cell,) = expand(load_suite(write_suite(project)), rows="1.base/digits_mlp")
    wrong = replace(cell.runs[0], seed=-1)
    for train in (lambda: kdbench.train(wrong), lambda: kdbench.train_all([replace(cell, runs=(wrong,))])):
        with pytest.raises(UserError, match="digits_mlp-ce seed -1: no record can hold this run: Expected"):
            train()
    assert list(project.glob("results/*")) == []


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
