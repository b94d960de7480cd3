"""A throw-away project made of strings: benchmark.toml and one small suite in a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.plan.expand import expand
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run
from kdbench.spec.suites import Cell
from kdbench.store.records import save_failure, save_result
from kdbench.suite.load import load_suite
from tests.support.build import make_result

SUITE = """\
[suite]
paper = "A paper"
dataset = "digits"
seeds = 2

[tolerance]
top1 = 0.5
gain = 0.5

[recipe]
epochs = 3
batch_size = 32
lr = 0.1

[[delta]]
at = "code.py:1"
why = "another loss"
loss = { kd = "kd_released" }

[[table]]
id = "1.base"
loss = { name = "ce" }
rows = [
  { student = "digits_mlp", top1 = 90.0 },
  { student = "digits_cnn", top1 = 95.0 },
]

[[table]]
id = "1.kd"
loss = { name = "kd", alpha = 0.9, tau = 4 }
rows = [
  { student = "digits_mlp", teacher = "digits_cnn", top1 = 92.0, gain = 2.0 },
]
"""
"""Two baselines and a student: the smallest suite that has a bit of everything."""

AS_PRINTED = {"1.base/digits_mlp": 90.0, "1.base/digits_cnn": 95.0, "1.kd/digits_mlp:digits_cnn": 92.0}
"""The printed accuracy of each row of `SUITE`."""


FEW_IMAGES = ("lr = 0.1", "lr = 0.1\ntrain_size = 96\ntest_size = 100")
"""An edit of `SUITE` for runs that are trained: on three batches."""


def change(*edits: tuple[str, str], suite: str = SUITE) -> str:
    """A suite's text with some parts replaced, each of which must be there."""
    for old, new in edits:
        assert old in suite, f"the suite has no {old!r}"
        suite = suite.replace(old, new, 1)
    return suite


def write_suite(folder: Path, text: str = SUITE, name: str = "small") -> Path:
    """A suite file in a folder."""
    path = folder / "suites" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def make_project(folder: Path, text: str = SUITE) -> Path:
    """A whole project: benchmark.toml beside `suites/`. Returns the suite's path."""
    (folder / "benchmark.toml").write_text("[data]\noffline = true\n", encoding="utf-8")
    return write_suite(folder, text)


def store(folder: Path, path: Path, values: Mapping[str, float]) -> list[Run]:
    """Results of the released runs of some rows of a suite: each epoch of each seed has the row's value."""
    cells = [cell for cell in expand(load_suite(path)) if cell.row.name in values]
    runs = {run.id: (run, values[cell.row.name]) for cell in cells for run in cell.runs}
    for run, top1 in runs.values():
        save_result(folder / "results", make_result(run, *[top1] * run.recipe.epochs))
    return [run for run, _ in runs.values()]


def fail_teacher(project: Path) -> None:
    """Record that the first run of digits_cnn, which teaches, failed."""
    run = store(project, project / "suites" / "small.toml", {"1.base/digits_cnn": 95.0})[0]
    next((project / "results" / "digits").glob(f"*{run.id}.json")).unlink()
    save_failure(project / "results", Failure(id=run.id, run=run, cause="loss is NaN", log="logs/a.txt"))


def cells(folder: Path, *edits: tuple[str, str], **options: Any) -> tuple[Cell, ...]:  # noqa: ANN401 - expand's
    return expand(load_suite(write_suite(folder, change(*edits))), **options)
