"""All that is stored, as pandas frames: `kdbench.results()` and `kdbench.curves()`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import UserError, require
from kdbench.machine import load_machine
from kdbench.spec.results import Result
from kdbench.store.records import index, load_result

if TYPE_CHECKING:
    import pandas as pd


def results(folder: str | Path | None = None) -> "pd.DataFrame":
    """A line for each stored run, repeats among them.

    Columns: `id`, `repeat` (0: the first training), `dataset`, `student`, `teacher` ("" without),
    `teacher_epoch` (after which it teaches; none of an imported one), `loss`, one `loss.NAME` for each
    parameter, `seed`, `epochs`, `last`, `best` (percent), `best_epoch`, `seconds`, `peak_memory` (bytes),
    `packages` (other than kdbench), `file`.

    Args:
        folder: the results folder; left out, that of benchmark.toml.

    Raises:
        UserError: pandas is not installed, a record is damaged, or the folder is no path.
    """
    return _frame([_line(*each) for each in _stored(folder)])


def curves(folder: str | Path | None = None) -> "pd.DataFrame":
    """A line for each epoch of each stored run.

    Columns: `id`, `repeat`, `epoch` (from 1), `top1` (percent), `test_loss`, `train_loss`, `seconds`.

    Args:
        folder: as of `results`, to whose lines `id` and `repeat` lead.

    Raises:
        UserError: as `results`.
    """
    return _frame([line for repeat, _, result in _stored(folder) for line in _epochs(repeat, result)])


def _frame(lines: list[dict[str, Any]]) -> "pd.DataFrame":
    try:
        import pandas as pd
    except ImportError as error:
        raise UserError("frames need pandas: pip install 'kdbench[notebook]'") from error
    return pd.DataFrame(lines)


def _stored(folder: str | Path | None) -> Iterator[tuple[int, Path, Result]]:
    """Each record with its number among those of its run, in the order of their files."""
    require("folder", folder, (str, Path, type(None)), "a results folder")
    there = index(Path(folder) if folder is not None else load_machine().results, trials=False)
    for run, first in there.results.items():
        for repeat, path in enumerate((first, *there.repeats.get(run, ()))):
            yield repeat, path, load_result(path)


def _line(repeat: int, path: Path, result: Result) -> dict[str, Any]:
    """A run as a line of `kdbench.results`."""
    run = result.run
    return {
        "id": result.id,
        "repeat": repeat,
        "dataset": run.dataset,
        "student": run.student,
        "teacher": run.teacher_model,
        "teacher_epoch": run.teacher.epoch if run.teacher else None,
        "loss": run.loss.name,
        **{f"loss.{name}": value for name, value in run.loss.params.items()},
        "seed": run.seed,
        "epochs": run.recipe.epochs,
        "last": result.last,
        "best": result.best,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "peak_memory": result.peak_memory,
        "packages": ", ".join(map(str, run.plugins)),
        "file": str(path),
    }


def _epochs(repeat: int, result: Result) -> Iterator[dict[str, Any]]:
    curve = result.curve
    values = zip(curve.top1, curve.test_loss, curve.train_loss, curve.seconds, strict=True)
    for epoch, (top1, test_loss, train_loss, seconds) in enumerate(values, 1):
        yield {
            "id": result.id,
            "repeat": repeat,
            "epoch": epoch,
            "top1": top1,
            "test_loss": test_loss,
            "train_loss": train_loss,
            "seconds": seconds,
            "validation_top1": curve.validation_top1[epoch - 1] if curve.validation_top1 else None,
        }
