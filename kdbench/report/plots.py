"""`kdbench plot`: of each table a forest plot and the learning curves, and the methods beside each other.

The same checks give the same bytes: no date is written, and SVG's names are made from a fixed salt.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from kdbench.errors import UserError
from kdbench.formatting import clean, number
from kdbench.report.content import against
from kdbench.report.forest import Scale, scale_of
from kdbench.report.methods import TITLES
from kdbench.report.ranks import INK, SOFT, encoded
from kdbench.report.sentences import who
from kdbench.report.words import measured, measured_gain, printed_gain
from kdbench.spec.verdicts import Word
from kdbench.verdict.methods import tables
from kdbench.verdict.published import of_authors
from kdbench.verdict.stats import mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdbench.report.content import Report
    from kdbench.spec.author_runs import AuthorRun
    from kdbench.spec.results import Curve
    from kdbench.spec.verdicts import Check, Verdict
    from kdbench.verdict.methods import MethodTable, Pair

T = TypeVar("T")
FOREST_ROWS, CURVE_PANELS, METHOD_PANELS, COLUMNS, METHOD_COLUMNS = 30, 12, 12, 3, 4
"""The most rows, or panels, of one picture; a longer table becomes several."""
NARROWEST = 5.2
"""Inches of a picture of curves: what stands above and below its panels is that long."""
_TONES = {
    Word.REPRODUCED: "#1b7a55",
    Word.CONSISTENT: "#2f7d8f",
    Word.INCONCLUSIVE: "#96700a",
    Word.SINGLE_SEED: "#96700a",
    Word.BELOW: "#b8420f",
    Word.ABOVE: "#7a3fae",
}
_FAINT, _BAND, _ACCENT = "#b4b9c1", "#e9edf2", "#2b5a9b"
_AUTHOR = "#9a4d86"
_STYLE = {
    "text.parse_math": False,  # a name may hold a dollar
    "svg.hashsalt": "kdbench",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
}


def draw(report: Report, kinds: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Every picture of a report and the name of its file.

    `SUITE.TABLE.forest.png` and `SUITE.TABLE.curves.svg` of each table, and of each kind of evidence
    `SUITE.methods.our-runs.svg`.

    Raises:
        UserError: no row has a result; there is nothing to draw.
    """
    from matplotlib import rc_context

    if not any(_has_curves(report, check) for check in report.checks):
        raise UserError(f"{report.suite.path}: none of these rows has a result yet: there is nothing to draw")
    kinds = list(kinds)
    with rc_context(_STYLE):  # type: ignore[arg-type]  # matplotlib lists its own keys
        for name, figure in _figures(report):
            for kind in kinds:
                yield f"{name}.{kind}", encoded(figure, kind)


def _figures(report: Report) -> Iterator[tuple[str, Figure]]:
    """The figures of a report by the names of their files: for each table forest plots, then curves."""
    for table, checks in report.tables.items():
        title = _subject(report, f", Table {table}")
        name = re.sub(r"[^\w.-]+", "-", f"{report.suite.name}.{table}")
        # One scale for all pieces of a table, and for the author runs in it: rows are compared across them.
        known = [check for check in checks if _marks(check)]
        for piece, some in _pieces(known, FOREST_ROWS):
            yield f"{name}.forest{piece}", _forest(title, some, scale_of([*known, *of_authors(known)]))
        with_curves = [check for check in checks if _has_curves(report, check)]
        for piece, some in _pieces(with_curves, CURVE_PANELS):
            yield f"{name}.curves{piece}", _panels(title, report, some)
    for methods in tables(report.suite, report.checks):
        # A pair with one method alone has nothing beside it.
        methods_of = Counter(chain.from_iterable(methods.cells.values()))
        pairs = [pair for pair in methods.pairs if methods_of[pair] > 1]
        name = f"{report.suite.name}.methods.{methods.evidence.replace(' ', '-')}"
        for piece, shown in _pieces(pairs, METHOD_PANELS):
            yield f"{name}{piece}", _methods(report, methods, shown)


def _subject(report: Report, table: str = "") -> str:
    """What a picture is of: the suite and the form in which it is trained, and whether it is a trial."""
    trial = f"Trial ({report.altered}), " if report.altered else ""
    return clean(f"{trial}{report.suite.name}{table}, as {report.variant}")


def _has_curves(report: Report, check: Check) -> bool:
    return bool(_curves(report, check) or _author_curves(report, check))


def _author_curves(report: Report, check: Check) -> list[AuthorRun]:
    return [run for run in report.authors.get(check.row.name, ()) if run.top1]


def _marks(check: Check) -> list[tuple[str, Verdict, float]]:
    """What a forest plot shows of a row: shape, verdict, tolerance; the accuracy, the gain, author runs."""
    margins = check.row.tolerance
    marks = [("o", check.top1, margins.top1), ("D", check.gain, margins.gain)]
    if check.published is not None:
        marks.append(("s", check.published.top1, margins.top1))
    return [mark for mark in marks if mark[1].difference is not None]


_SHIFTS = {1: (0.0,), 2: (-0.2, 0.2), 3: (-0.27, 0.0, 0.27)}
"""Where the marks of a row lie below each other, by their number."""


def _pieces(items: Sequence[T], most: int) -> Iterator[tuple[str, Sequence[T]]]:
    """So many at a time, with what their file's name ends in: nothing for the first, then `-2`."""
    for start in range(0, len(items), most):
        yield f"-{start // most + 1}" if start else "", items[start : start + most]


def _forest(title: str, checks: Sequence[Check], scale: Scale) -> Figure:
    """A row per line, from the top: accuracy (circle) and gain (diamond) minus what is printed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.3 + 0.42 * len(checks)), layout="constrained")
    axes = figure.subplots()
    for place, check in enumerate(checks):
        marks = _marks(check)
        for (shape, verdict, margin), shift in zip(marks, _SHIFTS[len(marks)], strict=True):
            _mark(axes, verdict, margin, place + shift, scale, shape=shape)
        axes.annotate(
            _beside(check), (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7.5
        )
    axes.axvline(0, color=SOFT, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    axes.set(xlim=(-scale.limit * 1.05, scale.limit * 1.05), ylim=(len(checks) - 0.4, -0.6))
    axes.set_yticks(range(len(checks)), [clean(who(check.row)) for check in checks], color=INK)
    axes.tick_params(axis="y", length=0)
    shapes = {shape for check in checks for shape, _, _ in _marks(check)}
    drawn = ", ".join(text for shape, text in _SHAPES.items() if shape in shapes)
    difference = f"measured minus {against(checks)}, percentage points"
    axes.set_xlabel(f"{difference}{_intervals(checks)}; band: tolerance")
    axes.set_title(f"{title}: {drawn}", loc="left", fontsize=10)
    return figure


_SHAPES = {"o": "accuracy (circle)", "D": "gain (diamond)", "s": "author runs (square)"}


def _intervals(checks: Sequence[Check]) -> str:
    """`; line: 90 % confidence interval`, with the levels of the intervals that are drawn; "" without any."""
    drawn = [verdict.level for check in checks for _, verdict, _ in _marks(check) if verdict.interval]
    levels = dict.fromkeys(f"{100 - 200 * level:.3g}" for level in sorted(drawn))
    return f"; line: {' to '.join(levels)} % confidence interval" if levels else ""


def _mark(axes: Axes, verdict: Verdict, margin: float, y: float, scale: Scale, *, shape: str) -> None:
    difference, tone = verdict.difference or 0.0, _TONES.get(verdict.word, SOFT)
    axes.barh(y, 2 * margin, left=-margin, height=0.34, color=_BAND, zorder=0)
    if verdict.interval:
        axes.plot(verdict.interval, (y, y), color=tone, linewidth=1.4, solid_capstyle="butt", zorder=2)
    if abs(difference) > scale.limit:  # an arrow at the edge: the row lies beyond
        difference, shape = (scale.limit, ">") if difference > 0 else (-scale.limit, "<")
    axes.plot(difference, y, shape, color=tone, markersize=4.6, zorder=3)


def _beside(check: Check) -> str:
    """What stands beside a row: its figures and words, of the accuracy and of the gain."""
    top1, gain = check.top1, check.gain
    lines = []
    if top1.difference is not None:
        lines.append(f"{measured(top1)}, {against([check])} {number(top1.printed)}: {top1.word}")
    if gain.difference is not None:
        lines.append(f"{measured_gain(check)}, {against([check])} {printed_gain(check)}: {gain.word}")
    if check.published is not None and check.published.top1.difference is not None:
        theirs = check.published.top1
        lines.append(
            f"{check.published.kind} {measured(theirs)}, printed {number(theirs.printed)}: {theirs.word}"
        )
    return "\n".join(lines)


def _panels(title: str, report: Report, checks: Sequence[Check]) -> Figure:
    """The test accuracy after each epoch, a panel per row: mean and seeds, baseline, printed."""
    columns = min(COLUMNS, len(checks))
    lines = -(-len(checks) // columns)
    figure, grid = _grid(len(checks), columns, 0.6 + 3.1 * columns, 0.9 + 2.3 * lines)
    baselines = report.baselines
    for axes, check in zip(grid, checks, strict=True):
        base = _curves(report, baselines.get(check.row.name))
        _panel(axes, check, _curves(report, check), base, _author_curves(report, check))
    figure.suptitle(f"{title}: test accuracy, %", x=0.01, ha="left", fontsize=10)
    figure.supxlabel(f"epoch{_drawn(report, checks)}", fontsize=8.5)
    return figure


def _grid(
    panels: int, columns: int, width: float, height: float, *, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, and its panels in rows of so many columns."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(NARROWEST, width), height), layout="constrained")
    grid = figure.subplots(-(-panels // columns), columns, squeeze=False, sharey=sharey).flatten()
    for axes in grid[panels:]:
        axes.remove()
    return figure, list(grid[:panels])


def _drawn(report: Report, checks: Sequence[Check]) -> str:
    """What the lines of panels are: only those that are drawn."""
    bases = [check for check in checks if _curves(report, report.baselines.get(check.row.name))]
    grey = dict.fromkeys("the row it gains over" if check.row.over else "the baseline" for check in bases)
    lines = {
        "line: mean of the seeds": any(_curves(report, check) for check in checks),
        f"grey: {' or '.join(grey)}": bool(bases),
        f"dashed: {report.against}": any(check.top1.printed is not None for check in checks),
        "dotted: author runs": any(_author_curves(report, check) for check in checks),
    }
    return "; " + ", ".join(text for text, is_drawn in lines.items() if is_drawn)


def _curves(report: Report, check: Check | None) -> list[Curve]:
    return [report.results[of].curve for of in check.ids if of in report.results] if check else []


def _panel(
    axes: Axes, check: Check, own: Sequence[Curve], base: Sequence[Curve], authors: Sequence[AuthorRun]
) -> None:
    """One row's curves over the baseline's, each seed thin, their mean thick; the printed value as a line."""
    for curves, tone in ((base, _FAINT), (own, _ACCENT)):
        for curve in curves:
            axes.plot(range(1, len(curve.top1) + 1), curve.top1, color=tone, linewidth=0.7, alpha=0.35)
        if curves:
            accuracies = [curve.top1 for curve in curves]
            middle = [mean(values) for values in zip(*accuracies, strict=True)]
            axes.plot(range(1, len(middle) + 1), middle, color=tone, linewidth=1.5)
    for run in authors:
        epochs = run.epochs or range(1, len(run.top1) + 1)
        axes.plot(epochs, run.top1, color=_AUTHOR, linewidth=0.9, linestyle=(0, (1, 1)))
    printed = check.top1.printed
    if printed is not None:
        axes.axhline(printed, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(*extent([*own, *base, *authors], printed))
    axes.locator_params(axis="x", integer=True)  # there is no half epoch
    axes.set_title(clean(who(check.row)), fontsize=8.5, loc="left")


def _methods(report: Report, table: MethodTable, pairs: Sequence[Pair]) -> Figure:
    """A panel for each pair: its methods from the top, each with its mean accuracy and std."""
    columns = min(METHOD_COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    height = 1.2 + rows * (0.6 + 0.24 * len(table.cells))
    figure, grid = _grid(len(pairs), columns, 1.6 + 2.3 * columns, height, sharey=True)
    for axes, pair in zip(grid, pairs, strict=True):
        _method_panel(axes, table, pair)
    figure.suptitle(
        f"{_subject(report)}\n{TITLES[table.evidence]}: methods beside each other",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    numbers = [cells[pair] for cells in table.cells.values() for pair in pairs if pair in cells]
    parts = {
        "line: std": any(each.std is not None for each in numbers),
        f"dashed: {table.against}": bool(table.against),
        "filled: the best": True,
    }
    drawn = ", ".join(text for text, is_drawn in parts.items() if is_drawn)
    figure.supxlabel(clean(f"accuracy, %; {drawn}"), fontsize=8.5)
    return figure


def _method_panel(axes: Axes, table: MethodTable, pair: Pair) -> None:
    """The methods of one pair, the first on top."""
    best = table.best(pair)
    for place, (method, cells) in enumerate(table.cells.items()):
        found = cells.get(pair)
        if found is None:
            continue
        tone = SOFT if method == table.against else _ACCENT
        axes.errorbar(
            found.mean,
            place,
            xerr=found.std,
            fmt="o",
            color=tone,
            markerfacecolor=tone if method in best else "white",
            markersize=5,
            linewidth=1.2,
        )
    if table.against and pair in table.cells[table.against]:
        over = table.cells[table.against][pair].mean
        axes.axvline(over, color=_FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(table.cells)), [clean(name) for name in table.cells])
    axes.set_ylim(len(table.cells) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    taught = f"\nfrom {clean(pair.teacher)}" if pair.teacher else ""
    axes.set_title(clean(pair.student) + taught, fontsize=8.5, loc="left")


def extent(curves: Iterable[Curve | AuthorRun], printed: float | None) -> tuple[float, float]:
    """From where to where accuracies are drawn.

    The first tenth of the epochs climbs from nothing: it may leave the picture, so that the end can be read.
    """
    late = [top1 for curve in curves for top1 in curve.top1[len(curve.top1) // 10 :]]
    # 6 % of the range above and below, and never less than 0.05 points: a flat curve is a line in the middle.
    values = late if printed is None else [*late, printed]
    room = max(0.06 * (max(values) - min(values)), 0.05)
    return max(0.0, min(values) - room), min(100.0, max(values) + room)
