"""Methods side by side: the field's own table, average ranks, and two methods over pairs and seeds.

Pure: the checks of a suite's rows in, tables out. One table holds one kind of evidence, never two mixed.
Ranks and their critical difference are those of Demšar, "Statistical Comparisons of Classifiers over Multiple
Data Sets", JMLR 7, 2006: pairs of teacher and student stand where his data sets do.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from math import sqrt
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from kdbench.catalog import unknown
from kdbench.errors import UserError
from kdbench.spec.recipes import against as recipes_against
from kdbench.spec.runs import Recipe
from kdbench.spec.suites import Row, Suite
from kdbench.spec.verdicts import Check
from kdbench.verdict.holm import adjusted_p
from kdbench.verdict.paired import Paired, paired
from kdbench.verdict.stats import LEVEL, mean, spread

Evidence = Literal["our runs", "author runs", "printed", "references"]
EVIDENCE: tuple[Evidence, ...] = ("our runs", "author runs", "printed", "references")
"""What stands behind the numbers of a table; `references` are those that kdbench measured itself."""
STUDENT = "student"
"""The method of a student that learns alone, by plain cross-entropy."""
KD = ("kd", "hinton_kd", "kd_released")
"""What KD is called, as a method or as a loss."""
LEAST_PAIRS, LEAST_METHODS = 2, 3
"""For ranks: with fewer there is nothing to average, or a paired test says more."""


class Pair(NamedTuple):
    """A column: who learns from whom ("": from nobody)."""

    student: str
    teacher: str

    def __str__(self) -> str:
        return f"{self.student} from {self.teacher}" if self.teacher else self.student


class Number(Struct, frozen=True, kw_only=True):
    """A cell: a mean accuracy in percent."""

    row: str
    """The row of the suite that it is of."""
    mean: float
    std: float | None = None
    n: int | None = None
    """Of how many runs, where that is known."""
    values: dict[int, float] = {}
    """By seed; none of a printed number."""


class MethodTable(Struct, frozen=True, kw_only=True):
    """Methods down, pairs across."""

    evidence: Evidence
    pairs: tuple[Pair, ...]
    cells: dict[str, dict[Pair, Number]]
    """By method, in the order of the suite; a pair without a number is left out."""
    teachers: dict[Pair, Number]
    """What the teachers of the pairs give themselves."""
    against: str
    """The method over which gains are shown; "" where it has no number here."""
    recipes: dict[str, str] = {}
    """By method, how its recipe differs from that of `against` for a student: `lr 0.05 against lr 0.1`."""

    def best(self, pair: Pair) -> frozenset[str]:
        """The methods that are the best of a pair, to the two decimals that are shown."""
        found = {name: round(cells[pair].mean, 2) for name, cells in self.cells.items() if pair in cells}
        return frozenset(name for name, value in found.items() if value == max(found.values()))

    def gain(self, method: str, pair: Pair) -> float | None:
        """Over the method `against`, in points; paired by seed where seeds are shared."""
        one = self.cells[method].get(pair)
        other = self.cells[self.against].get(pair) if self.against else None
        if one is None or other is None or method == self.against:
            return None
        return _paired(one, other).difference


class Ranking(Struct, frozen=True, kw_only=True):
    """Average ranks: 1 is the best of each pair; equal numbers share their ranks."""

    ranks: dict[str, float]
    """By method, the best first."""
    pairs: int
    chi2: float
    """Friedman's statistic, corrected for ties."""
    p: float
    """That the methods do not differ."""
    critical: float
    """Nemenyi's critical difference at `level`: ranks that are further apart differ."""
    level: float = LEVEL
    left_out: tuple[str, ...] = ()
    """Methods without a number for each pair."""

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The largest sets of methods that follow each other and lie within the critical difference."""
        names, found = list(self.ranks), []
        reach = 0  # the end of the last group: a later one that does not go beyond it is a part of it
        for start, first in enumerate(names):
            near = [name for name in names[start:] if self.ranks[name] - self.ranks[first] <= self.critical]
            if len(near) > 1 and start + len(near) > reach:
                found.append(tuple(near))
                reach = start + len(near)
        return found


class Comparison(Struct, frozen=True, kw_only=True):
    """One method against another one, over the pairs that both have."""

    method: str
    against: str
    pairs: int
    better: int
    """Pairs on which its mean is the higher one."""
    better_by_seeds: int
    """Pairs on which its seeds show that it is better, by paired tests at 5 %, Holm's for all these pairs."""
    worse_by_seeds: int
    by_seeds: int
    """Pairs on which both have two shared seeds, so that there is such a test."""
    difference: float
    """The mean over the pairs, in points."""
    interval: tuple[float, float] | None
    """Of 90 %: over the pairs, or over the seeds of the only one; None for fewer than two of them."""
    p: float | None
    """Two-sided: Wilcoxon's signed-rank test over the pairs, or the paired t test over the seeds of one pair.

    None for fewer than two pairs that differ, or fewer than two seeds.
    """
    p_adjusted: float | None = None
    """The same by Holm's adjustment for all methods that are held against this one."""


def tables(suite: Suite, checks: Sequence[Check], against: str = "") -> list[MethodTable]:
    """A table of each kind of evidence that there is.

    Args:
        suite: of the rows.
        checks: of its rows, in its order.
        against: the method over which gains are shown; "": KD, else the student alone.

    Raises:
        UserError: there is no such method.
    """
    # A row names its data set only where that is not its suite's.
    rows = [
        replace(check.row, dataset="") if check.row.dataset == suite.dataset else check.row
        for check in checks
    ]
    names = name_methods(rows)
    if against and against not in names.values():
        raise UserError(f"--against: {unknown('method', against, sorted(set(names.values())))}")
    named = [
        (names[row.name], row, check) for row, check in zip(rows, checks, strict=True) if row.name in names
    ]
    return [table for kind in EVIDENCE if (table := _table(named, kind, against)).cells]


def name_methods(rows: Sequence[Row]) -> dict[str, str]:
    """The method of each row, by the row's name: `kd` of table `1.kd`, else its loss, with the row's label.

    Where two rows of a pair would be one method, the later one is called by its table. A student alone that
    is printed again, a point on the way of a teacher and released weights are no method.
    """
    # Where a table has several losses, or only a number (`4`), its rows are called by their losses.
    losses: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if not row.is_baseline:
            losses[row.table].add(row.loss.name)
    names: dict[str, str] = {}
    taken: set[tuple[str, str, str]] = set()
    for row in rows:
        name = _method(row, losses[row.table])
        on_the_way = row.teacher is None and row.loss.name == "ce" and not (row.is_baseline or row.mean)
        again = (name, *_pair(row)) in taken
        if row.released or on_the_way or (again and row.is_baseline):
            continue
        if again:
            name = _labelled(row, row.table)
        taken.add((name, *_pair(row)))
        names[row.name] = name
    return names


def _method(row: Row, losses: set[str]) -> str:
    if row.is_baseline:
        return STUDENT
    own = row.table.partition(".")[2] or row.table
    return _labelled(row, row.loss.name if own.isdigit() or len(losses) > 1 else own)


def _labelled(row: Row, name: str) -> str:
    return f"{name} ({row.label})" if row.label else name


def _pair(row: Row) -> Pair:
    student = f"{row.student} on {row.dataset}" if row.dataset else row.student
    return Pair(student, str(row.teacher or ""))


def _table(named: Sequence[tuple[str, Row, Check]], kind: Evidence, against: str) -> MethodTable:
    """The numbers of one kind, of rows with their methods."""
    found: dict[str, dict[Pair, Number]] = {}
    losses: dict[str, str] = {}
    for name, row, check in named:
        number = _number(check, kind)
        if number is not None:
            losses[name] = row.loss.name
            found.setdefault(name, {})[_pair(row)] = number
    # found: by method, then by column: {"kd": {Pair("resnet20", "resnet56"): Number(...)}, ...}.
    alone = {pair.student: number for pair, number in found.get(STUDENT, {}).items()}
    pairs = _columns(found)
    cells = {name: _spread_over(some, pairs) for name, some in found.items()}
    cells = {name: some for name, some in cells.items() if some}
    # Gains are over what was asked for; else over KD, by the method's name or its loss's; else the student.
    kd = [name for name in cells if name in KD or losses[name] in KD]
    chosen = against or next((name for name in (*KD, *kd, STUDENT) if name in cells), "")
    trained: dict[str, dict[str, Recipe]] = {}
    for name, row, _ in named:
        if name in cells:
            trained.setdefault(name, {})[_pair(row).student] = row.recipe
    # A teacher's own number is that of a student who learns alone; `self` would be the line of the student.
    teachers = {}
    for pair in pairs:
        name = _teacher(pair)
        if name in alone and name != pair.student:
            teachers[pair] = alone[name]
    return MethodTable(
        evidence=kind,
        pairs=pairs,
        cells=cells,
        teachers=teachers,
        against=chosen if chosen in cells else "",
        recipes=dict(_other_recipes(trained, chosen)),
    )


def _other_recipes(trained: Mapping[str, Mapping[str, Recipe]], against: str) -> Iterator[tuple[str, str]]:
    """The methods that train a student otherwise than the one does that all are held against.

    Args:
        trained: by method and student, the recipe.
        against: the method.
    """
    ours = trained.get(against, {})
    for name, recipes in trained.items():
        shared = (student for student in recipes if student in ours)
        texts = dict.fromkeys(recipes_against(recipes[student], ours[student]) for student in shared)
        if others := "; ".join(filter(None, texts)):
            yield name, others


def _columns(found: Mapping[str, Mapping[Pair, Number]]) -> tuple[Pair, ...]:
    """The pairs with a teacher; and students that have none, but a network that only teaches is no column."""
    taught = dict.fromkeys(pair for cells in found.values() for pair in cells if pair.teacher)
    students = {pair.student for pair in taught}
    columns = list(taught)
    for name, cells in found.items():
        if name != STUDENT or not taught:
            columns += [pair for pair in cells if not pair.teacher and pair.student not in students]
    return tuple(dict.fromkeys(columns))


def _teacher(pair: Pair) -> str:
    """The network that teaches: `resnet50` of `resnet50`; "" of a checkpoint on the way, and of `self`."""
    return "" if "@" in pair.teacher or pair.teacher == "self" else pair.teacher


def _spread_over(numbers: Mapping[Pair, Number], pairs: Iterable[Pair]) -> dict[Pair, Number]:
    """The numbers of a method by pair; one that has no teacher stands in every pair of its student."""
    found = {}
    for pair in pairs:
        number = numbers.get(pair) or numbers.get(Pair(pair.student, ""))
        if number is not None:
            found[pair] = number
    return found


def _number(check: Check, kind: Evidence) -> Number | None:
    """What a row has of a kind of evidence."""
    row, reference = check.row, check.row.reference
    if kind in ("printed", "references"):
        own = reference.kind == "measured"
        if reference.top1 is None or own is not (kind == "references"):
            return None
        return Number(row=row.name, mean=reference.top1, std=reference.std, n=reference.n)
    values = dict(check.values)
    if kind == "author runs":
        theirs = check.published
        values = dict(theirs.values) if theirs is not None and theirs.kind == "author run" else {}
    if not values:
        return None
    scatter = spread(list(values.values()))
    return Number(
        row=row.name,
        mean=mean(list(values.values())),
        std=scatter.std if scatter else None,
        n=len(values),
        values=values,
    )


def _paired(one: Number, other: Number) -> Paired:
    """By seed where both have some in common, else the one difference of the means."""
    # A pseudo-seed 0 carries the difference of two printed means: one value, and so no test.
    by_seed = paired(one.values, other.values)
    return by_seed if by_seed.n else Paired({0: one.mean - other.mean})


def rank(table: MethodTable, level: float = LEVEL) -> Ranking | None:
    """The average ranks of the methods that have a number for each pair; None for too few of either.

    Friedman's test asks whether the methods differ at all; Nemenyi's critical difference is
    q(level, k) sqrt(k (k + 1) / 6N), of k methods on N pairs, q the studentized range over sqrt 2.
    """
    whole = {name: cells for name, cells in table.cells.items() if len(cells) == len(table.pairs)}
    k, n = len(whole), len(table.pairs)
    if k < LEAST_METHODS or n < LEAST_PAIRS:
        return None
    import numpy as np
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    accuracies = [_accuracies(cells, table.pairs) for cells in whole.values()]
    by_pair = rankdata(-np.array(accuracies), axis=0)  # 1 is the highest accuracy of a pair
    average = dict(zip(whole, by_pair.mean(axis=1).tolist(), strict=True))
    chi2, p = friedmanchisquare(*accuracies)
    # Infinite degrees of freedom: ranks of n pairs have a known variance, none is estimated.
    quantile = studentized_range.ppf(1 - level, k, float("inf")) / sqrt(2)
    return Ranking(
        ranks=dict(sorted(average.items(), key=lambda each: each[1])),
        pairs=n,
        chi2=float(chi2),
        p=float(p),
        critical=float(quantile * sqrt(k * (k + 1) / (6 * n))),
        level=level,
        left_out=tuple(name for name in table.cells if name not in whole),
    )


def _accuracies(cells: Mapping[Pair, Number], pairs: Iterable[Pair]) -> list[float]:
    """Of a method, rounded: means of equal values that were added in other orders must be ties."""
    return [round(cells[pair].mean, 6) for pair in pairs]


def compare_methods(table: MethodTable) -> list[Comparison]:
    """Each method against `table.against`, over the pairs that both have."""
    if not table.against:
        return []
    other = table.cells[table.against]
    found = []
    for method, cells in table.cells.items():
        shared = [pair for pair in table.pairs if pair in cells and pair in other]
        if method != table.against and shared:
            by_pair = [_paired(cells[pair], other[pair]) for pair in shared]
            found.append(_comparison(method, table.against, by_pair))
    tested = {each.method: each.p for each in found if each.p is not None}
    adjusted = dict(zip(tested, adjusted_p(list(tested.values())), strict=True))
    return [replace(each, p_adjusted=adjusted.get(each.method)) for each in found]


def _comparison(method: str, against: str, by_pair: Sequence[Paired]) -> Comparison:
    differences = [each.difference or 0.0 for each in by_pair]
    # Two questions: on how many single pairs the seeds show a difference, and whether all pairs together do.
    tested = [each for each in by_pair if each.spread is not None]
    over_pairs = Paired(dict(enumerate(differences)))
    # A single pair has nothing to average over but its seeds.
    alone = by_pair[0] if len(by_pair) == 1 else None
    return Comparison(
        method=method,
        against=against,
        pairs=len(by_pair),
        better=sum(each > 0 for each in differences),
        better_by_seeds=_shown([each.p_above() for each in tested]),
        worse_by_seeds=_shown([each.p_below() for each in tested]),
        by_seeds=len(tested),
        difference=mean(differences),
        interval=alone.interval if alone else over_pairs.interval,
        p=alone.p_differs() if alone else _wilcoxon(tuple(differences)),
    )


def _shown(p: Iterable[float | None]) -> int:
    """How many of several tests show something at 5 % for all of them together."""
    adjusted = adjusted_p([one or 0.0 for one in p])
    return sum(each <= LEVEL for each in adjusted)


@cache
def _wilcoxon(differences: tuple[float, ...]) -> float | None:
    """Kept, as scipy permutes the signs of up to 13 differences where some are equal: that takes a second."""
    if sum(each != 0 for each in differences) < LEAST_PAIRS:
        return None
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)
