"""The one paired comparison: two sets of accuracies by seed, and the tests on their differences.

Claims, controls, attribute, compare, equivalence and the gain over a baseline all ask it. Rows of one seed
see the same views in the same order, so their difference scatters less than either.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from kdbench.spec.verdicts import Outcome
from kdbench.verdict.stats import (
    LEVEL,
    SLACK,
    Levels,
    Spread,
    equivalence_p,
    greater_p,
    half_width,
    mean,
    outside_p,
    spread,
)

Values = Mapping[int, float]
"""Accuracies in percent, or differences in percentage points, by seed."""


class Paired(Struct, frozen=True, dict=True):
    """One minus the other, for each seed that both have.

    For example: `paired({0: 71.0, 1: 72.0}, {1: 70.5, 2: 70.0})` has the one difference 1.5, of seed 1.
    """

    by_seed: dict[int, float]
    level: float = LEVEL
    """The largest p-value that counts: less where the seeds were chosen by interim analyses."""

    @cached_property
    def values(self) -> list[float]:
        """The differences, in percentage points."""
        return list(self.by_seed.values())

    @property
    def n(self) -> int:
        """How many seeds both have."""
        return len(self.by_seed)

    @property
    def difference(self) -> float | None:
        """The mean difference, in percentage points; None without a shared seed."""
        return mean(self.values) if self.values else None

    @cached_property
    def spread(self) -> Spread | None:
        """How far the differences scatter; None for fewer than two, where there is no test."""
        return spread(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The confidence interval of the mean difference, of 1 - 2 `level`; None without a test."""
        if self.spread is None:
            return None
        half = half_width(self.spread, level=self.level)
        center = mean(self.values)
        return center - half, center + half

    def p_above(self, margin: float = 0.0) -> float | None:
        """The p-value of the test that the mean difference is above the margin."""
        return self._tested(lambda _: greater_p(self.values, margin))

    def p_below(self, margin: float = 0.0) -> float | None:
        """The p-value of the test that it is below the margin."""
        return self._tested(lambda _: greater_p([-value for value in self.values], -margin))

    def p_differs(self) -> float | None:
        """The p-value of the two-sided test that the mean difference is not 0."""
        above, below = self.p_above(), self.p_below()
        return None if above is None or below is None else min(1.0, 2 * min(above, below))

    def p_not_above(self, margin: float = 0.0) -> float | None:
        """As `p_below`, but 0 where every difference is the margin itself, as of a row and the same run."""
        # A row and a row of the same runs differ by exactly nothing: that is certain and needs no test.
        certain = self.spread is not None and not self.spread.std
        if certain and abs(mean(self.values) - margin) <= SLACK:
            return 0.0
        return self.p_below(margin)

    def p_within(self, margin: float) -> float | None:
        """The p-value of the two one-sided tests that it lies within +- margin."""
        return self._tested(lambda spread: equivalence_p(mean(self.values), margin, spread))

    def p_outside(self, margin: float) -> float | None:
        """The p-value of the test that it lies outside +- margin."""
        return self._tested(lambda spread: outside_p(mean(self.values), margin, spread))

    def _tested(self, test: Callable[[Spread], float]) -> float | None:
        """The p-value of a test, as one of a test at 5 %; None for fewer than two seeds, where there is none.

        Whoever reads a p-value holds it against 5 %: where the level is lower, p is raised in proportion.
        """
        return None if self.spread is None else min(1.0, test(self.spread) * LEVEL / self.level)


def paired(one: Values, other: Values, *levels: Levels) -> Paired:
    """The differences of one minus the other over the seeds that both have.

    Args:
        one: by seed.
        other: by seed.
        levels: of the interim analyses of either side; the strictest counts.
    """
    by_seed = {seed: value - other[seed] for seed, value in one.items() if seed in other}
    return Paired(by_seed, min((level_of(some, len(by_seed)) for some in levels), default=LEVEL))


def conjunction(
    for_it: Sequence[float | None], against_it: Sequence[float | None]
) -> tuple[float | None, float | None, Outcome]:
    """The p-values for and against a statement that holds where each of several comparisons does.

    For it the largest counts, as all must be shown (intersection-union test; Berger, Technometrics 24, 1982),
    and all must be known. Against it the smallest, times their number (Bonferroni).

    Args:
        for_it: of each comparison, the p-value of the test that it holds; None: there is no test.
        against_it: the same, that it does not.
    """
    shown = [p for p in for_it if p is not None]
    refuted = [p for p in against_it if p is not None]
    p_for = max(shown) if shown and len(shown) == len(for_it) else None
    p_against = min(1.0, min(refuted) * len(against_it)) if refuted else None
    if p_for is not None and p_for <= LEVEL:
        return p_for, p_against, Outcome.HOLDS
    if p_against is not None and p_against <= LEVEL:
        return p_for, p_against, Outcome.FAILS
    return p_for, p_against, Outcome.UNDECIDED


def level_of(levels: Levels, n: int) -> float:
    """The level of an analysis of n seeds; where none is planned for so many, the smallest holds."""
    return levels.get(n, min(levels.values())) if levels else LEVEL
