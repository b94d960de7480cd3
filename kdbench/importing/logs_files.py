"""Other people's training logs -> stretches of epochs, as they stand in the file. Nothing is judged here.

    worklog      mdistiller's worklog.txt: blocks of `key: value` between dashes, `best_acc` at the end
    csv          a line per epoch (timm's summary.csv), or a line per run (with a value, or a curve in a cell)
    jsonl        JSON lines: an object per epoch, or per run
    tensorboard  event files, of one run in a folder

`logs_curves.py` makes runs of the stretches.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kdbench.catalog import unknown
from kdbench.errors import UserError

LARGEST = 200_000_000
"""Bytes of a log."""
EPOCH_COLUMNS = ("epoch", "step")
TOP1_COLUMNS = ("test_acc", "eval_top1", "top1", "test_top1", "val_acc", "test_accuracy", "acc1", "acc")
"""What logs call the epoch and the test accuracy, where the command does not say; the first that is there."""
Line = Mapping[str, str]
"""One line of a table: its cells by the names of their columns."""


class Columns(Struct, frozen=True, kw_only=True):
    """Which columns, keys or tags of a log are meant; "" leaves it to the usual names."""

    top1: str = ""
    """The test accuracies: one in a cell, or a whole curve with spaces between."""
    epoch: str = ""
    """The epoch; a table without one has a line per run."""
    last: str = ""
    best: str = ""
    epochs: str = ""
    """In a table with a line per run: how many epochs a run has; a curve of twice as many is two runs."""


class Point(Struct, frozen=True):
    """One epoch of a log."""

    epoch: int
    """As the log counts: from 1 or from 0."""
    top1: float


class Stretch(Struct, frozen=True, kw_only=True):
    """What a log holds between two ends that it marks itself: a run, or several without an end between."""

    place: str
    """The file, and where in it, for messages."""
    points: Sequence[Point] = ()
    cells: Line = {}
    """The other columns of a table, which say whose run it is."""
    finished: bool | None = None
    """Whether its last run came to its end; None where the format does not say."""
    one_epoch: bool = False
    """It is one line of a run: those of the same run are joined once it is known whose they are."""
    last: float | None = None
    best: float | None = None
    """What the log itself says was last, or best."""
    value: float | None = None
    """An accuracy without an epoch."""


def read_log(path: Path, columns: Columns, kind: str = "") -> list[Stretch]:
    """Read one log.

    Args:
        path: the file; of event files also their folder.
        columns: which columns are meant.
        kind: one of `READERS`; "": what the file's name says.

    Raises:
        UserError: missing, too large, of no known kind, broken, or without the columns.
    """
    reader = READERS[kind or kind_of(path)]
    try:
        if not path.is_file() and not (path.is_dir() and reader is _tensorboard):
            raise UserError(f"{path}: there is no such file")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: {path.stat().st_size:,} bytes; at most {LARGEST:,}")
        stretches = list(reader(path, columns))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no text: {error.reason} at byte {error.start:,}") from error
    if not stretches:
        raise UserError(f"{path}: holds no epoch and no run")
    return stretches


def kind_of(path: Path) -> str:
    """The format that a file's name says.

    Raises:
        UserError: it says none.
    """
    if ".tfevents." in path.name or path.is_dir():
        return "tensorboard"
    known = {".txt": "worklog", ".log": "worklog", ".csv": "csv", ".jsonl": "jsonl", ".json": "jsonl"}
    kind = known.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: no known kind of log; add --format {'|'.join(READERS)}")
    return kind


def _worklog(path: Path, columns: Columns) -> Iterator[Stretch]:
    """The blocks of mdistiller. The last line has no line break: an appended run begins in the midst of it.

    -------------------------
    epoch: 240
    test_acc: 76.28
    -------------------------
    best_acc	76.66-------------------------
    epoch: 1
    """
    top1, points, begun = columns.top1 or "test_acc", [], 1
    block: dict[str, str] = {}
    number = 0
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(lines, 1):
        here = f"{path}, line {number}"
        # `best_acc<tab>76.66---...` ends a run: a tab for the colon, and the next run's dashes behind it.
        content = text.strip().rstrip("-").strip()
        key, _, value = content.replace("\t", ":", 1).partition(":")
        if content and not value.strip():
            cut_off = number == len(lines) > 1
            hint = ": its last line; was the log cut off? Fetch it again" if cut_off else ""
            raise UserError(f"{here}: {content!r:.80} is no `key: value` of a worklog{hint}")
        if content and key != "best_acc":
            block[key.strip()] = value.strip()
        if text.strip().endswith("---") and block:
            points.append(_point(block, columns.epoch or "epoch", top1, here))
            block = {}
        if key == "best_acc":
            yield Stretch(
                place=f"{path}, lines {begun} to {number}",
                points=points,
                best=_number(value, here),
                finished=True,
            )
            points, begun = [], number + 1
    if block:
        raise UserError(f"{path}, line {number}: ends within a block: the log was cut off; fetch it again")
    if points:
        yield Stretch(place=f"{path}, lines {begun} to {number}", points=points, finished=False)


def _point(block: Line, epoch: str, top1: str, here: str) -> Point:
    for name in (epoch, top1):
        if name not in block:
            raise UserError(f"{here}: this block has no {name!r}. {unknown('key', name, block)}; see --top1")
    return Point(_epoch_of(block[epoch], here), _number(block[top1], here))


def _csv(path: Path, columns: Columns) -> Iterator[Stretch]:
    """The stretches of a CSV file with a first line of names."""
    csv.field_size_limit(10_000_000)  # a cell may hold a curve
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lines = []
        try:
            for cells in reader:
                if None in cells or None in cells.values():
                    count = len(reader.fieldnames or ())
                    raise UserError(
                        f"{path}, line {reader.line_num}: not the {count} cells of its first line"
                    )
                if list(cells.values()) != list(cells):  # timm repeats the head where it goes on
                    lines.append((f"{path}, line {reader.line_num}", cells))
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: no CSV: {error}") from error
    yield from _table(lines, columns, path)


def _jsonl(path: Path, columns: Columns) -> Iterator[Stretch]:
    """The stretches of a file of JSON objects, one a line."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not text.strip():
            continue
        here = f"{path}, line {number}"
        try:
            found = msgspec.json.decode(text, type=dict[str, object])
        except (msgspec.DecodeError, RecursionError) as error:
            raise UserError(f"{here}: no JSON object: {error}") from error
        lines.append((here, {key: _cell(value) for key, value in found.items()}))
    yield from _table(lines, columns, path)


def _cell(value: object) -> str:
    """A value of JSON as a cell of CSV; a list of numbers is a curve."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(lines: Sequence[tuple[str, Line]], columns: Columns, path: Path) -> Iterator[Stretch]:
    """Every line becomes a stretch of its own, whether it is an epoch or a run."""
    if not lines:
        return  # read_log names a file without an epoch
    there = list(dict.fromkeys(name for _, cells in lines for name in cells))
    epoch = _column(columns.epoch, EPOCH_COLUMNS, there, path, "--epoch", needed=False)
    only_values = bool(columns.last or columns.best)
    top1 = _column(columns.top1, TOP1_COLUMNS, there, path, "--top1", needed=not only_values)
    for name, option in ((columns.last, "--last"), (columns.best, "--best"), (columns.epochs, "--epochs")):
        _column(name, (), there, path, option, needed=False)
    for here, cells in lines:
        stated = Stretch(
            place=here,
            cells=cells,
            last=_optional(cells, columns.last, here),
            best=_optional(cells, columns.best, here),
        )
        text = cells.get(top1, "").strip()
        if epoch:
            if text:  # an epoch that was not evaluated has an empty cell
                point = Point(_epoch_of(cells.get(epoch, ""), here), _number(text, here))
                yield Stretch(place=here, points=[point], cells=cells, one_epoch=True)
        elif " " in text:
            values = [_number(each, here) for each in text.split()]
            yield from _cut(values, _optional(cells, columns.epochs, here), stated)
        else:
            yield replace(stated, value=_number(text, here) if top1 else None)


def _cut(values: Sequence[float], epochs: float | None, stated: Stretch) -> Iterator[Stretch]:
    """A curve in a cell, cut where it holds several runs: 480 accuracies of runs of 240 epochs are two."""
    length = max(1, int(epochs or len(values)))
    if len(values) % length:
        raise UserError(
            f"{stated.place}: {len(values)} accuracies are no whole number of runs of {length} epochs"
        )
    if length < len(values):
        stated = replace(stated, last=None, best=None)  # those of the whole cell, not of one of its runs
    for start in range(0, len(values), length):
        points = [Point(epoch, top1) for epoch, top1 in enumerate(values[start : start + length], 1)]
        yield replace(stated, points=points)


def _column(
    asked: str, usual: Sequence[str], there: Sequence[str], path: Path, option: str, *, needed: bool
) -> str:
    """The name of a column: the one asked for, or the first of the usual ones; "" where there is none."""
    if asked and asked not in there:
        raise UserError(f"{path}: {option} {asked!r}: {unknown('column', asked, there)}")
    found = asked or next((name for name in usual if name in there), "")
    if needed and not found:
        columns = ", ".join(there) or "none"
        raise UserError(f"{path}: which column has the test accuracy? Add {option}; there are: {columns}")
    return found


def _optional(cells: Line, column: str, here: str) -> float | None:
    return _number(cells.get(column, ""), here) if column else None


def _number(text: str, here: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise UserError(f"{here}: {text.strip()!r:.40} is no accuracy")
    return number


def _epoch_of(text: str, here: str) -> int:
    if not re.fullmatch(r"\d{1,9}(\.0*)?", text.strip()):
        raise UserError(f"{here}: {text.strip()!r:.40} is no epoch")
    return int(float(text))


def _tensorboard(path: Path, columns: Columns) -> Iterator[Stretch]:
    """The scalars of one tag. The loader would drop the steps before a restart, which must be seen."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise UserError(f"{path}: reading event files takes `pip install 'kdbench[tensorboard]'`") from error
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    tags = events.Tags()["scalars"]
    if not tags:
        raise UserError(f"{path}: no scalars: it is no event file, was cut off, or holds other data alone")
    tag = _column(columns.top1, TOP1_COLUMNS, tags, path, "--top1", needed=True)
    # Event files hold float32: 71.37 comes as 71.37000274658203.
    points = [Point(event.step, round(event.value, 4)) for event in events.Scalars(tag)]
    if points:
        yield Stretch(place=f"{path}, tag {tag}", points=points)


READERS: Mapping[str, Callable[[Path, Columns], Iterator[Stretch]]] = {
    "worklog": _worklog,
    "csv": _csv,
    "jsonl": _jsonl,
    "tensorboard": _tensorboard,
}
