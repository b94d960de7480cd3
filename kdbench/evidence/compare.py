"""Two sets of results held against each other, row by row: what became worse, what better, what is the same.

The same tests as in a verdict (docs/verdicts.md), with the row's tolerance as the margin. Where both sides
have results of the same seeds, the differences of each seed are judged: the views are the same, so pairs
scatter less. Beside the rows all of them are judged together, which sees a small shift that
no row shows alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from statistics import mean

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.evidence.sources import PRINTED, results_of
from kdbench.evidence.trainings import experiment, key_of, load_trainings, newest
from kdbench.formatting import escape, plural
from kdbench.formatting import table as draw_table
from kdbench.machine import load_machine
from kdbench.plan.selection import Selection
from kdbench.spec.results import Result
from kdbench.spec.suites import Cell, Row
from kdbench.spec.verdicts import Verdict, Word
from kdbench.store.records import facts
from kdbench.verdict.check import counted, printed_spread, value_at, verdict_of
from kdbench.verdict.paired import paired
from kdbench.verdict.sequential import InterimPlan, levels, load_plans, plan_of
from kdbench.verdict.stats import LOSS, Spread, detection_power, spread


class Change(StrEnum):
    """What became of a row from A to B, the worst first."""

    REGRESSION = "regression"
    UNREADABLE = "unreadable"
    MISSING = "missing in B"
    UNDECIDED = "undecided"
    SINGLE_SEED = "single seed, outside"
    WITHIN = "within the tolerance"
    SAME = "same"
    IMPROVEMENT = "improvement"
    NEW = "only in B"
    NOTHING = "in neither"


BAD = frozenset({Change.REGRESSION, Change.UNREADABLE, Change.MISSING})
"""What makes `kdbench compare` exit with 1."""
_CHANGES = {
    Word.BELOW: Change.REGRESSION,
    Word.INCONCLUSIVE: Change.UNDECIDED,
    Word.SINGLE_SEED: Change.SINGLE_SEED,
    Word.CONSISTENT: Change.WITHIN,
    Word.REPRODUCED: Change.SAME,
    Word.ABOVE: Change.IMPROVEMENT,
}


class Side(Struct, frozen=True):
    """A row's accuracies on one side, in percent."""

    values: Mapping[int, float] = {}
    """By seed; empty for a printed number."""
    printed: float | None = None
    printed_spread: Spread | None = None
    """None: the printed number counts as exact."""
    damage: tuple[str, ...] = ()
    """What is wrong with its records that cannot be read."""

    @property
    def mean(self) -> float | None:
        """The mean over the seeds, or what is printed."""
        return mean(self.values.values()) if self.values else self.printed

    @property
    def count(self) -> int:
        """How many values the mean is of; 1 where that is not printed."""
        if self.values or self.printed is None:
            return len(self.values)
        return self.printed_spread.n if self.printed_spread else 1


class Comparison(Struct, frozen=True):
    """A row's B held against its A."""

    row: str
    change: Change
    a: float | None
    b: float | None
    difference: float | None = None
    """B minus A, in percentage points."""
    interval: tuple[float, float] | None = None
    """90 % confidence interval of `difference`; None for one value each."""
    n: tuple[int, int] = (0, 0)
    """How many values each side has."""
    paired: bool = False
    tolerance: float = 0.0
    std: float | None = None
    """Of the paired differences, in percentage points; None for fewer than two pairs."""


class Shift(Struct, frozen=True, kw_only=True):
    """What became of all rows together: a t test on the rows' differences (random effects).

    The rows are the sample, each of equal weight, so that what they differ by is the test's error. Rows that
    are the same runs count once.
    """

    change: Change
    rows: int
    difference: float
    """The mean of the rows' differences, in percentage points."""
    interval: tuple[float, float]
    """Its 90 % confidence interval."""
    margin: float
    """How large a shift is let pass; 0 unless one was asked for."""


def measured_side(cell: Cell, results: Mapping[str, Result]) -> Side:
    """What a cell's runs gave at the row's reading; `results` by `experiment`, whatever their protocol."""
    read = {run.seed: value_at(results.get(experiment(run)), cell.row.report_epoch) for run in cell.runs}
    return Side({seed: value for seed, value in read.items() if value is not None})


def printed_side(row: Row) -> Side:
    """What the paper prints for a row."""
    of = row.reference
    return Side({}, of.top1, None if of.top1 is None else printed_spread(of))


def compare_row(
    row: Row,
    a: Side,
    b: Side,
    *,
    margin: float | None = None,
    plan: InterimPlan | None = None,
    single_seed: bool = False,
) -> Comparison:
    """Hold a row's B against its A.

    Args:
        row: its tolerance is the margin.
        a: before.
        b: after.
        margin: another one, in percentage points.
        plan: of the interim analyses that chose the seeds, whose levels then count.
        single_seed: whether one pair of values outside the margin is a regression or an improvement.
    """
    margin = row.tolerance.top1 if margin is None else margin
    count = (a.count, b.count)
    if a.mean is None or b.mean is None:
        kind = {(True, True): Change.NOTHING, (True, False): Change.NEW, (False, True): Change.MISSING}
        return Comparison(row.name, kind[a.mean is None, b.mean is None], a.mean, b.mean, n=count)
    pairs = paired(b.values, a.values)
    # Seeds in common are judged by their differences; a single one only where neither side has more.
    by_pairs = pairs.n > 1 or (count == (1, 1) and pairs.n == 1)
    if by_pairs:
        verdict = verdict_of(pairs.values, 0.0, margin, levels=levels(plan))
        before = mean(a.values[seed] for seed in pairs.by_seed)
        after = mean(b.values[seed] for seed in pairs.by_seed)
        count = (pairs.n, pairs.n)
    else:
        verdict = _unpaired(a, b, margin, plan)
        before, after = a.mean, b.mean
    if single_seed:
        verdict = counted(verdict)
    return Comparison(
        row=row.name,
        change=_CHANGES[verdict.word],
        a=before,
        b=after,
        difference=verdict.difference,
        interval=verdict.interval,
        n=count,
        paired=by_pairs,
        tolerance=margin,
        std=verdict.std if by_pairs else None,
    )


def _unpaired(a: Side, b: Side, margin: float, plan: InterimPlan | None) -> Verdict:
    """Welch's test of two means; a side of one value counts as exact.

    `verdict_of` holds values that have a spread against one number: where only A has several values, A is
    held against B, and the verdict is turned round.
    """
    if len(b.values) < 2 and a.values:
        return _mirrored(_held_against(b, a, margin, plan))
    return _held_against(a, b, margin, plan)


def _held_against(reference: Side, side: Side, margin: float, plan: InterimPlan | None) -> Verdict:
    """A side's values, or its printed number, against the mean of another one."""
    error = reference.printed_spread
    if reference.values:
        error = spread(list(reference.values.values()))
    values = list(side.values.values()) or [side.mean or 0.0]
    return verdict_of(values, reference.mean or 0.0, margin, error=error, levels=levels(plan, error))


def shift(rows: Iterable[Comparison], margin: float = 0.0) -> Shift | None:
    """Hold all rows together: whether their mean difference lies beyond a margin.

    Args:
        rows: the same runs once.
        margin: in percentage points.

    Returns:
        None for fewer than two rows that have a difference.
    """
    found = [row.difference for row in rows if row.difference is not None]
    if len(found) < 2:
        return None
    verdict = verdict_of(found, 0.0, margin)
    assert verdict.interval is not None  # noqa: S101 - of two values and more
    change = _CHANGES[verdict.word]
    return Shift(
        change=change, rows=len(found), difference=mean(found), interval=verdict.interval, margin=margin
    )


def _mirrored(verdict: Verdict) -> Verdict:
    """The verdict of B against A from that of A against B."""
    swap = {Word.BELOW: Word.ABOVE, Word.ABOVE: Word.BELOW}
    interval = verdict.interval and (-verdict.interval[1], -verdict.interval[0])
    return replace(
        verdict,
        word=swap.get(verdict.word, verdict.word),
        printed=verdict.measured,
        measured=verdict.printed,
        interval=interval,
    )


def sort(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Regressions first; rows of the same change by how far they are off, then as the suite has them."""
    order = list(Change)
    return sorted(comparisons, key=lambda each: (order.index(each.change), each.difference or 0.0))


class Compared(Struct, frozen=True):
    """Two sources held against each other."""

    a: str
    b: str
    rows: list[Comparison]
    """The worst first."""
    versions: dict[str, tuple[str, str]]
    """What the two sides were trained with, where they differ."""
    together: Shift | None = None
    """All rows at once."""
    damage: tuple[str, ...] = ()
    """What is wrong with records that cannot be read."""


def compare_sources(
    a: str, b: str, chosen: Selection, *, margin: float | None = None, single_seed: bool = False
) -> Compared:
    """Hold the rows of suites as B has them against the same rows as A has them.

    Args:
        a: a results folder, a commit, or `printed`.
        b: the same.
        chosen: suites and rows.
        margin: in percentage points, for every row instead of its tolerance, and for all rows together.
        single_seed: whether one pair of values outside the tolerance counts as a regression or improvement.

    Raises:
        UserError: a suite is wrong, a source is none, both print, or the margin is none.
    """
    if margin is not None and not 0 <= margin <= 100:
        raise UserError(f"--margin {margin:g}: write percentage points from 0 to 100, for example 0.2")
    if a == b == PRINTED:
        raise UserError("compare: both sides are `printed`; one must be measured")
    cells = [cell for _, some in chosen.load() for cell in some]
    before, facts_before = _side(a, cells)
    after, facts_after = _side(b, cells)
    plans = _plans(a, b)
    rows = []
    distinct = {}  # rows of the same runs count once in what is said of all rows together
    damage: dict[str, None] = {}
    for cell, one, other in zip(cells, before, after, strict=True):
        plan = plan_of(cell, plans)
        row = compare_row(cell.row, one, other, margin=margin, plan=plan, single_seed=single_seed)
        if problems := one.damage + other.damage:
            row = Comparison(cell.row.name, Change.UNREADABLE, row.a, row.b)
            damage |= dict.fromkeys(problems)
        rows.append(row)
        distinct[cell.ids] = row
    versions = {} if PRINTED in (a, b) else _different(facts_before, facts_after)
    together = shift(distinct.values(), margin or 0.0)
    return Compared(a, b, sort(rows), versions, together, tuple(damage))


def _different(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What differs between two sets of facts, by name."""
    names = sorted(before.keys() | after.keys())
    changed = [name for name in names if before.get(name) != after.get(name)]
    return {name: (before.get(name, "unknown"), after.get(name, "unknown")) for name in changed}


def _plans(*sources: str) -> dict[str, InterimPlan]:
    """The plans of interim analyses of this machine's results and of the folders that are compared."""
    folders = [load_machine().results, *(Path(source) for source in sources if Path(source).is_dir())]
    return {run: plan for folder in folders for run, plan in load_plans(folder).items()}


def _side(source: str, cells: Sequence[Cell]) -> tuple[list[Side], dict[str, str]]:
    if source == PRINTED:
        return [printed_side(cell.row) for cell in cells], {}
    with results_of(source, load_machine().results) as (there, as_named):
        loaded = load_trainings(there, [run for cell in cells for run in cell.runs], repeats=False)
    found = newest(loaded.results)
    damaged = {key: as_named(problem) for key, problem in loaded.damaged.items()}
    sides = []
    for cell in cells:
        damage = tuple(damaged[key] for key in dict.fromkeys(map(key_of, cell.runs)) if key in damaged)
        sides.append(replace(measured_side(cell, found), damage=damage))
    return sides, _facts(found.values())


def _facts(results: Iterable[Result]) -> dict[str, str]:
    """What results were trained with, their versions of kdbench's arithmetic among it."""
    results = list(results)
    protocols = ", ".join(sorted({str(result.run.protocol) for result in results}))
    return {**facts(results), **({"protocol": protocols} if protocols else {})}


def regressed(compared: Compared) -> bool:
    """Whether any row became worse or was lost, or all rows together became worse."""
    together = compared.together
    if together is not None and together.change in BAD:
        return True
    return any(row.change in BAD for row in compared.rows)


def headline(compared: Compared) -> str:
    """How many rows became what, what became of all together, and what would have been seen."""
    words = [row.change for row in compared.rows]
    text = ", ".join(f"{words.count(change)} {change}" for change in Change if change in words)
    first = f"{compared.b} against {compared.a}, {plural(len(words), 'row')}: {text or 'nothing to compare'}."
    return "\n".join([first, *_together(compared.together), *_power(compared.rows), *compared.damage])


def _together(found: Shift | None) -> Iterator[str]:
    """For example `All 71 rows together: -0.50, 90 % interval -0.53 to -0.47, margin 0: regression.`."""
    if found is not None:
        low, high = found.interval
        yield (
            f"All {found.rows} rows together: {found.difference:+.2f}, 90 % interval {low:+.2f} to "
            f"{high:+.2f}, margin {found.margin:g}: {found.change}."
        )


def _power(rows: Iterable[Comparison]) -> Iterator[str]:
    """How likely a loss of a point in one row is a regression, by the row's own scatter."""
    powers = [
        detection_power(LOSS, row.tolerance, Spread(row.std, row.n[0])) for row in rows if row.std is not None
    ]
    if powers:
        share = " to ".join(dict.fromkeys(f"{100 * power:.0f}" for power in (min(powers), max(powers))))
        yield f"A loss of {LOSS:g} point in one row is a regression in {share} %, as pairs scatter."


HEADS = ("row", "change", "A", "B", "B - A", "90 % interval", "tolerance", "n")


def table(compared: Compared) -> list[tuple[str, ...]]:
    """A line for each row, under `HEADS`."""
    return [
        (
            row.row,
            str(row.change),
            _number(row.a),
            _number(row.b),
            _number(row.difference, sign=True),
            f"{row.interval[0]:+.2f} to {row.interval[1]:+.2f}" if row.interval else "",
            f"{row.tolerance:g}" if row.difference is not None else "",
            f"{row.n[0]} pairs" if row.paired else f"{row.n[0]}, {row.n[1]}",
        )
        for row in compared.rows
    ]


def _number(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+.2f}" if sign else f"{value:.2f}"


def issue(compared: Compared) -> str:
    """The regressions as the text of an issue, with the versions before and after; "" without any."""
    if not regressed(compared):
        return ""
    bad = [line for line, row in zip(table(compared), compared.rows, strict=True) if row.change in BAD]
    parts = [f"# {len(bad)} of {plural(len(compared.rows), 'row')} regressed", escape(headline(compared))]
    if bad:
        parts.append(draw_table("pipe", HEADS, bad))
    if compared.versions:
        lines = [(name, *both) for name, both in compared.versions.items()]
        parts.append(draw_table("pipe", ("", "before", "after"), lines))
    return "\n\n".join(parts) + "\n"
