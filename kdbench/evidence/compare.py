"""Two sets of results held against each other, row by row: what became worse, what better, what is the same.

The same tests as in a verdict (docs/verdicts.md), with the row's tolerance as the margin. Where both sides
have results of the same seeds, the differences of each seed are judged: the views are the same, so pairs
scatter less.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import mean

from msgspec import Struct
from msgspec.structs import replace

from kdbench.check import judge, printed_spread, value_at
from kdbench.spec import Cell, Result, Row, Run, Verdict, Word
from kdbench.stats import Spread, spread


class Change(StrEnum):
    """What became of a row from A to B, the worst first."""

    REGRESSION = "regression"
    MISSING = "missing in B"
    UNDECIDED = "undecided"
    WITHIN = "within the tolerance"
    SAME = "same"
    IMPROVEMENT = "improvement"
    NEW = "only in B"
    NOTHING = "in neither"


_CHANGES = {
    Word.BELOW: Change.REGRESSION,
    Word.INCONCLUSIVE: Change.UNDECIDED,
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
    off: float | None = None
    """B minus A, in percentage points."""
    interval: tuple[float, float] | None = None
    """90 % confidence interval of `off`; None for one value each."""
    n: tuple[int, int] = (0, 0)
    """How many values each side has."""
    paired: bool = False
    tolerance: float = 0.0


def measured_side(cell: Cell, results: Mapping[str, Result]) -> Side:
    """What a cell's runs gave at the row's reading; `results` by `experiment`, whatever their protocol."""
    read = {run.seed: value_at(results.get(experiment(run)), cell.row.reading) for run in cell.runs}
    return Side({seed: value for seed, value in read.items() if value is not None})


def printed_side(row: Row) -> Side:
    """What the paper prints for a row."""
    of = row.reference
    return Side({}, of.top1, None if of.top1 is None else printed_spread(of))


def experiment(run: Run) -> str:
    """A run's id but for the version of kdbench's arithmetic: by it two versions are compared."""
    return _unversioned(run).id


def _unversioned(run: Run) -> Run:
    teacher = run.teacher and replace(run.teacher, run=_unversioned(run.teacher.run))
    return replace(run, protocol=0, teacher=teacher)


def compare(row: Row, a: Side, b: Side) -> Comparison:
    """Hold a row's B against its A."""
    margin = row.tolerance.top1
    count = (a.count, b.count)
    if a.mean is None or b.mean is None:
        kind = {(True, True): Change.NOTHING, (True, False): Change.NEW, (False, True): Change.MISSING}
        return Comparison(row.name, kind[a.mean is None, b.mean is None], a.mean, b.mean, n=count)
    shared = sorted(a.values.keys() & b.values.keys())
    paired = len(shared) > 1 or (count == (1, 1) and bool(shared))
    if paired:
        verdict = judge([b.values[seed] - a.values[seed] for seed in shared], 0.0, margin)
    else:
        verdict = _unpaired(a, b, margin)
    off = verdict.off
    return Comparison(
        row=row.name,
        change=_CHANGES[verdict.word],
        a=mean(a.values[seed] for seed in shared) if paired else a.mean,
        b=mean(b.values[seed] for seed in shared) if paired else b.mean,
        off=off,
        interval=verdict.interval,
        n=(len(shared), len(shared)) if paired else count,
        paired=paired,
        tolerance=margin,
    )


def _unpaired(a: Side, b: Side, margin: float) -> Verdict:
    """Welch's test of two means; a side of one value counts as exact."""
    one, other = (side.mean or 0.0 for side in (a, b))
    if len(b.values) > 1 or not a.values:
        return judge(list(b.values.values()) or [other], one, margin, error=_spread(a))
    flipped = judge(list(a.values.values()), other, margin, error=_spread(b))
    return _mirrored(flipped)


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


def _spread(side: Side) -> Spread | None:
    return spread(list(side.values.values())) if side.values else side.printed_spread


def sort(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Regressions first; rows of the same change by how far they are off, then as the suite has them."""
    order = list(Change)
    return sorted(comparisons, key=lambda each: (order.index(each.change), each.off or 0.0))
