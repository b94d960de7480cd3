"""What `kdbench compare` and `history` do: stored results -> comparisons, or a row's past -> text."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from kdbench.address import find_row
from kdbench.check import value_at
from kdbench.errors import UserError
from kdbench.evidence.compare import (
    Change,
    Comparison,
    Side,
    compare,
    experiment,
    measured_side,
    printed_side,
    sort,
)
from kdbench.evidence.history import Point, history, sparkline
from kdbench.evidence.sources import PRINTED, results_of
from kdbench.machine import load_machine
from kdbench.reporting import facts
from kdbench.spec import Cell, Form, Result, Run
from kdbench.store import Index, index, load_result
from kdbench.text import columns
from kdbench.workload import Selection


class Compared(Struct, frozen=True):
    """Two sources held against each other."""

    a: str
    b: str
    rows: list[Comparison]
    """The worst first."""
    versions: dict[str, tuple[str, str]]
    """What the two sides were trained with, where they differ."""


def compare_sources(a: str, b: str, chosen: Selection) -> Compared:
    """Hold the rows of suites as B has them against the same rows as A has them.

    Args:
        a: a results folder, a commit, or `printed`.
        b: the same.
        chosen: suites and rows.

    Raises:
        UserError: a suite is wrong, a source is none, or both print.
    """
    if a == b == PRINTED:
        raise UserError("compare: both sides are `printed`; one must be measured")
    cells = [cell for _, some in chosen.load() for cell in some]
    sides, known = zip(*(_side(source, cells) for source in (a, b)), strict=True)
    rows = [compare(cell.row, one, other) for cell, one, other in zip(cells, *sides, strict=True)]
    versions = {
        name: (known[0].get(name, "unknown"), known[1].get(name, "unknown"))
        for name in sorted({*known[0], *known[1]})
        if known[0].get(name) != known[1].get(name)
    }
    return Compared(a, b, sort(rows), {} if PRINTED in (a, b) else versions)


def _side(source: str, cells: Sequence[Cell]) -> tuple[list[Side], dict[str, str]]:
    if source == PRINTED:
        return [printed_side(cell.row) for cell in cells], {}
    with results_of(source, load_machine().results) as there:
        found = newest(load_trainings(there, [run for cell in cells for run in cell.runs], repeats=False))
    return [measured_side(cell, found) for cell in cells], _facts(found.values())


def newest(results: Iterable[Result]) -> dict[str, Result]:
    """The results by `experiment`; of several versions of kdbench's arithmetic, the newest."""
    ordered = sorted(results, key=lambda result: result.run.protocol)
    return {experiment(result.run): result for result in ordered}


def load_trainings(there: Index, runs: Iterable[Run], *, repeats: bool) -> list[Result]:
    """All results of these runs, whatever the version of kdbench's arithmetic that made them.

    Args:
        there: the folder's index.
        runs: which experiments.
        repeats: with further trainings of the same run.

    Raises:
        UserError: a record is broken.
    """
    wanted = {experiment(run): run for run in runs}
    names = {(run.dataset, f"{run.slug}.s{run.seed}") for run in wanted.values()}
    paths = [*there.results.values(), *(path for some in there.repeats.values() if repeats for path in some)]
    loaded = [load_result(path) for path in paths if (path.parent.name, _stem(path)) in names]
    return [result for result in loaded if experiment(result.run) in wanted]


def _stem(path: Path) -> str:
    """The `SLUG.sSEED` of a record's file name."""
    return ".".join(path.name.split(".")[:2])


def _facts(results: Iterable[Result]) -> dict[str, str]:
    """What results were trained with, their versions of kdbench's arithmetic among it."""
    results = list(results)
    protocols = ", ".join(sorted({str(result.run.protocol) for result in results}))
    return {**facts(results), **({"protocol": protocols} if protocols else {})}


def regressed(compared: Compared) -> bool:
    """Whether any row became worse, or was lost."""
    return any(row.change in (Change.REGRESSION, Change.MISSING) for row in compared.rows)


def headline(compared: Compared) -> str:
    """How many rows became what, in a line."""
    words = [row.change for row in compared.rows]
    told = ", ".join(f"{words.count(change)} {change}" for change in Change if change in words)
    return f"{compared.b} against {compared.a}, {len(words)} rows: {told or 'nothing to compare'}."


HEADS = ("row", "change", "A", "B", "B - A", "90 % interval", "tolerance", "n")


def table(compared: Compared) -> list[tuple[str, ...]]:
    """A line for each row, under `HEADS`."""
    return [
        (
            row.row,
            str(row.change),
            _number(row.a),
            _number(row.b),
            _number(row.off, sign=True),
            f"{row.interval[0]:+.2f} to {row.interval[1]:+.2f}" if row.interval else "",
            f"{row.tolerance:g}" if row.off is not None else "",
            f"{row.n[0]} pairs" if row.paired else f"{row.n[0]}, {row.n[1]}",
        )
        for row in compared.rows
    ]


def _number(value: float | None, *, sign: bool = False) -> str:
    return "" if value is None else format(value, "+.2f" if sign else ".2f")


def issue(compared: Compared) -> str:
    """The regressions as the text of an issue, with the versions before and after; "" without any."""
    from tabulate import tabulate

    from kdbench.report.words import escape

    bad = [
        line
        for line, row in zip(table(compared), compared.rows, strict=True)
        if row.change in (Change.REGRESSION, Change.MISSING)
    ]
    if not bad:
        return ""
    cells = [[escape(cell) for cell in line] for line in bad]
    parts = [
        f"# {len(bad)} of {len(compared.rows)} rows regressed",
        escape(headline(compared)),
        tabulate(cells, HEADS, tablefmt="pipe", disable_numparse=True),
    ]
    if compared.versions:
        lines = [[escape(name), escape(a), escape(b)] for name, (a, b) in compared.versions.items()]
        parts.append(tabulate(lines, ("", "before", "after"), tablefmt="pipe", disable_numparse=True))
    return "\n\n".join(parts) + "\n"


def past(address: str, form: Form) -> list[Point]:
    """A row over the versions of kdbench that trained it, the oldest first.

    Raises:
        UserError: no such row, or a record is broken.
    """
    _, cell = find_row(address, form)
    there = index(load_machine().results)
    trained = load_trainings(there, cell.runs, repeats=True)
    reading = cell.row.reading
    return history([each for each in trained if value_at(each, reading) is not None], reading)


def describe_past(address: str, points: Sequence[Point]) -> str:
    """A line for each version, the changes marked, and a sparkline."""
    if not points:
        return f"{address}: not trained yet"
    rows = [
        (
            point.version,
            point.finished,
            f"{point.mean:.2f}",
            " ".join(f"{seed}:{value:.2f}" for seed, value in point.values.items()),
            "" if point.change is None else f"changed by {point.change:+.2f}",
        )
        for point in points
    ]
    head = f"{address}  {sparkline([point.mean for point in points])}"
    return f"{head}\n{columns(rows, ['kdbench', 'trained until', 'mean', 'by seed', ''])}"
