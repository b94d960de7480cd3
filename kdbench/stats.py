"""Small samples: intervals, equivalence within a margin, and how many more seeds that takes.

All values and margins are in percentage points. Every interval is the two-sided 90 % interval, the one
that belongs to two one-sided tests at 5 % (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987).
scipy is imported inside the functions: `kdbench plan` and `kdbench --help` need none of this.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import fsum, sqrt

from msgspec import Struct

SLACK = 1e-9
"""Percentage points by which a margin may be missed: 76.82 - 76.32 is 0.5 and not a little more."""

MOST_SEEDS = 100
"""How many more seeds `seeds_needed` looks ahead."""


class Spread(Struct, frozen=True):
    """How far n values scatter: their sample standard deviation (n - 1 below), in percentage points."""

    std: float
    n: int

    @property
    def of_mean(self) -> float:
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


def error(measured: Spread, printed: Spread | None = None) -> tuple[float, float]:
    """The standard error of (measured mean - printed mean), and its degrees of freedom.

    Without a printed spread the printed mean counts as exact: s / sqrt(n) with n - 1 degrees. With one,
    Welch's sum of both variances and Satterthwaite's degrees (Welch, Biometrika 34, 1947). Both
    samples need at least two values.
    """
    if printed is None or not printed.of_mean:
        return sqrt(measured.of_mean), measured.n - 1
    total = measured.of_mean + printed.of_mean
    share = measured.of_mean / total  # a share, so that the square of a tiny spread does not underflow
    inverse = share**2 / (measured.n - 1) + (1 - share) ** 2 / (printed.n - 1)
    return sqrt(total), 1 / inverse


def half_width(measured: Spread, printed: Spread | None = None) -> float:
    """Half the 90 % interval of (measured mean - printed mean): t at 0.95 times the standard error."""
    size, degrees = error(measured, printed)
    return _t95(degrees) * size


def equivalence_p(off: float, margin: float, measured: Spread, printed: Spread | None = None) -> float:
    """The p-value of two one-sided tests that |off| is less than the margin: the larger of the two.

    `off` is measured mean - printed mean. p <= 0.05 says the same as: the 90 % interval lies inside the
    margin. Without any spread p is 0 inside the margin and 1 outside.
    """
    from scipy.special import stdtr

    size, degrees = error(measured, printed)
    room = margin - abs(off)
    if not size:
        return 0.0 if room >= -SLACK else 1.0
    return float(stdtr(degrees, -room / size))


def seeds_needed(off: float, margin: float, measured: Spread, printed: Spread | None = None) -> int | None:
    """How many more seeds until the 90 % interval lies inside the margin, if mean and spread stay.

    Returns:
        0 if it does already; None if not even `MOST_SEEDS` more would do, as when |off| >= margin or
        when the printed number's own error is too large.
    """
    final, _ = error(Spread(measured.std, measured.n + MOST_SEEDS), printed)
    if abs(off) + _t95(1e9) * final > margin + SLACK:
        return None  # not even with the normal's quantile, the smallest there is: most end here
    for more in range(MOST_SEEDS + 1):
        then = Spread(measured.std, measured.n + more)
        if abs(off) + half_width(then, printed) <= margin + SLACK:
            return more
    return None


@lru_cache(maxsize=1024)
def _t95(degrees: float) -> float:
    """The 0.95 quantile of Student's t: a suite asks for the same few again and again."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.95))
