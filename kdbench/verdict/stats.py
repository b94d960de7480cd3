"""Small samples: intervals, equivalence within a margin, and how many more seeds that takes.

All values and margins are in percentage points. An interval is two-sided, of 1 - 2 level: 90 % unless
stated otherwise, the one that belongs to two one-sided tests at 5 % (Schuirmann, J. Pharmacokinet. Biopharm.
15, 1987).
scipy is imported inside the functions: `kdbench plan` and `kdbench --help` need none of this.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import fsum, inf, sqrt
from types import MappingProxyType

from msgspec import Struct

LEVEL = 0.05
"""Of each one-sided test: how often it may be wrong."""

Levels = Mapping[int, float]
"""The largest p-values that count, by number of seeds, of a row that is analysed after each (`sequential`).

Empty: no analyses are planned, and `LEVEL` holds for any number.
"""
NO_PLAN: Levels = MappingProxyType({})

SLACK = 1e-9
"""Percentage points by which a margin may be missed: 76.82 - 76.32 is 0.5 and not a little more."""

LOSS = 1.0
"""Percentage points: the loss whose chance of being seen is printed."""

MOST_SEEDS = 100
"""How many more seeds `seeds_needed` looks ahead."""


class Spread(Struct, frozen=True):
    """How far n values scatter: their standard deviation, in percentage points.

    That of the sample (n - 1 below), or one that is assumed: then it counts as known, and n may be 1.
    """

    std: float
    n: int
    assumed: bool = False

    @property
    def degrees(self) -> float:
        """The degrees of freedom of the standard deviation; infinite where it is assumed."""
        return inf if self.assumed else self.n - 1

    @property
    def var_of_mean(self) -> float:
        """The variance of the mean of the n values."""
        return self.std**2 / self.n


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean.

    Raises:
        ZeroDivisionError: there are no values.
    """
    return fsum(values) / len(values)


def spread(values: Sequence[float]) -> Spread | None:
    """The sample standard deviation (n - 1 below) and n; None for fewer than two values."""
    if len(values) < 2:
        return None
    center = mean(values)
    squares = fsum((value - center) ** 2 for value in values)
    return Spread(sqrt(squares / (len(values) - 1)), len(values))


def error_count_spread(errors: int, of: int) -> Spread:
    """The spread of a single run whose errors among test images were counted: the binomial one.

    Its variance is p (1 - p) / n: 74 errors of 10,000 have a standard error of 0.086 points. No count is
    certain: 0 errors count as 1 here, and so does a single image that would be right.
    """
    share = min(max(errors, 1), max(of - 1, 1)) / of
    return Spread(100 * sqrt(share * (1 - share) / of), 1, assumed=True)


def standard_error(measured: Spread, printed: Spread | None = None) -> tuple[float, float]:
    """The standard error of (measured mean - printed mean), and its degrees of freedom.

    Without a printed spread the printed mean counts as exact: s / sqrt(n) with n - 1 degrees. With one,
    Welch's sum of both variances and Satterthwaite's degrees (Welch, Biometrika 34, 1947). Both
    samples need at least two values, unless a spread is assumed.
    """
    if printed is None or not printed.var_of_mean:
        return sqrt(measured.var_of_mean), measured.n - 1
    total = measured.var_of_mean + printed.var_of_mean
    share = measured.var_of_mean / total  # a share, so that the square of a tiny spread does not underflow
    inverse = share**2 / measured.degrees + (1 - share) ** 2 / printed.degrees
    return sqrt(total), 1 / inverse


def half_width(measured: Spread, printed: Spread | None = None, level: float = LEVEL) -> float:
    """Half the interval of (measured mean - printed mean): t at 1 - level times the standard error."""
    size, degrees = standard_error(measured, printed)
    return t_quantile(degrees, level) * size


def equivalence_p(difference: float, margin: float, measured: Spread, printed: Spread | None = None) -> float:
    """The p-value of two one-sided tests that |difference| is less than the margin: the larger of the two.

    `difference` is measured mean - printed mean. p <= 0.05 says the same as: the 90 % interval lies inside
    the margin. Without any spread p is 0 inside the margin and 1 outside.
    """
    from scipy.special import stdtr

    size, degrees = standard_error(measured, printed)
    room = margin - abs(difference)
    if not size:
        return 0.0 if room >= -SLACK else 1.0
    return float(stdtr(degrees, -room / size))


def outside_p(difference: float, margin: float, measured: Spread, printed: Spread | None = None) -> float:
    """The p-value of the opposite, that |difference| is more than the margin, on the side where it lies.

    p < 0.05 says the same as: the 90 % interval lies outside the margin.
    """
    from scipy.special import stdtr

    # Only the nearer margin is tested: beyond both at once no mean can lie.
    size, degrees = standard_error(measured, printed)
    beyond = abs(difference) - margin
    if not size:
        return 0.0 if beyond > SLACK else 1.0
    return float(stdtr(degrees, -beyond / size))


def greater_p(values: Sequence[float], margin: float = 0.0) -> float:
    """The p-value of the one-sided t test that the mean of at least two values is above the margin.

    Without any spread p is 0 above the margin, 1 below it and at it.
    """
    from scipy.special import stdtr

    scatter = spread(values)
    if scatter is None:
        raise ValueError("a test takes at least two values")
    above = mean(values) - margin
    if not scatter.std:
        return 0.0 if above > SLACK else 1.0
    return float(stdtr(scatter.n - 1, -above / sqrt(scatter.var_of_mean)))


def power(difference: float, margin: float, std: float, n: int, level: float = LEVEL) -> float:
    """The probability that the interval of n normal values lies inside the margin.

    The printed mean counts as exact. Given the sample's s, the mean must lie within
    margin - t s / sqrt(n); that normal probability is integrated over the distribution of s, which is
    std times the root of chi-squared over its degrees (Schuirmann 1987).

    Args:
        difference: the true difference, in percentage points.
        margin: the tolerance.
        std: the true standard deviation of one value, above 0.
        n: how many values, at least two.
        level: of each of the two one-sided tests.
    """
    from scipy.integrate import quad
    from scipy.special import chdtr, chdtri, ndtr

    degrees, scale = n - 1, std / sqrt(n)
    unit = t_quantile(degrees, level)

    # The mean over s of a function of s is its integral over the quantiles of s, share = 0 to 1: the share-th
    # quantile is std sqrt(chi2 / degrees). From `most` on, s is so large that the interval is wider than the
    # margin whatever the mean is, and nothing is added.
    def given(share: float) -> float:
        reach = margin - unit * scale * sqrt(chdtri(degrees, 1 - share) / degrees)
        return float(ndtr((reach - difference) / scale) - ndtr((-reach - difference) / scale))

    most = float(chdtr(degrees, degrees * (margin / unit / scale) ** 2))
    return float(quad(given, 0, most, limit=200)[0])


def detection_power(
    loss: float, margin: float, measured: Spread, printed: Spread | None = None, level: float = LEVEL
) -> float:
    """The probability that a true loss is found to lie below the margin, if the spreads are as given.

    By the noncentral t distribution, with Welch's degrees against a printed spread.

    Args:
        loss: how far the true mean lies below, in percentage points.
        margin: the tolerance.
        measured: of at least two values.
        printed: the printed number's; None: it counts as exact.
        level: of the one-sided test.
    """
    from scipy.special import nctdtr  # scipy.stats takes half a second to import

    size, degrees = standard_error(measured, printed)
    if not size:
        return float(loss > margin + SLACK)
    return float(1 - nctdtr(degrees, (loss - margin) / size, t_quantile(degrees, level)))


def seeds_needed(
    difference: float,
    margin: float,
    measured: Spread,
    printed: Spread | None = None,
    levels: Levels = NO_PLAN,
) -> int | None:
    """How many more seeds until the interval lies inside the margin, if mean and spread stay.

    Args:
        difference: measured mean - printed mean.
        margin: the tolerance.
        measured: the spread so far.
        printed: the printed number's; None: it counts as exact.
        levels: of the planned analyses, if any are.

    Returns:
        0 if it does already; None if not even `MOST_SEEDS` more would do (or all of `levels`), as when
        |difference| >= margin or when the printed number's own error is too large.
    """
    final, _ = standard_error(Spread(measured.std, measured.n + MOST_SEEDS), printed)
    if abs(difference) + t_quantile(1e9) * final > margin + SLACK:
        return None  # not even with the normal's quantile, the smallest there is: most end here
    for more in range(MOST_SEEDS + 1):
        then = Spread(measured.std, measured.n + more)
        level = levels.get(then.n) if levels else LEVEL  # None: no analysis is planned then
        if level is not None and abs(difference) + half_width(then, printed, level) <= margin + SLACK:
            return more
    return None


@lru_cache(maxsize=1024)
def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """The 1 - level quantile of Student's t: a suite asks for the same few again and again."""
    from scipy.special import stdtrit

    return float(-stdtrit(degrees, level))
