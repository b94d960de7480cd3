"""Looking after each seed, and staying honest: the levels of a group-sequential plan.

Who trains another seed until the verdict pleases has more than one chance in twenty to be wrong. A plan of
looks is therefore made before the first: after `first` seeds, after each further one, at most after `most`.
What each of the one-sided tests may be wrong is spent over the looks, after Lan and DeMets (Biometrika 70,
1983), with the function that makes the levels almost equal: by the share x of the seeds,

    SPENT ln(1 + (e - 1) x)

may have been spent. The boundary b of a look is where the sum of normal increments, having crossed no earlier
boundary, crosses it with just the chance that the look may spend: the density of that sum is carried from
look to look by numerical integration (Armitage, McPherson and Rowe, J. R. Statist. Soc. A 132, 1969).

The levels are used for the p-values of t tests (the significance-level approach: Jennison and Turnbull,
Group Sequential Methods, 2000, Sec. 4.4). With few seeds that loses something: of 5 % spent on the normal
scale up to 6.2 % become wrong. So 4 % are spent, and at most 5 % are: tests/test_sequential.py draws them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from math import e, log, sqrt
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array = NDArray[float64]

SPENT = 0.04
"""By the last look, of each one-sided test, on the normal scale."""
NODES = 400
"""Of the integration over the density; 200 give the same levels to 1e-9."""
FAR = 8.0
"""Standard deviations below which the density is nothing."""


class Looks(Struct, frozen=True, kw_only=True):
    """A plan of looks at a row: after `first` seeds, after each further one, at most after `most`."""

    first: Annotated[int, Meta(ge=2)] = 2
    most: Annotated[int, Meta(ge=2, le=50)] = 10


@cache
def levels(looks: Looks) -> Mapping[int, float]:
    """By number of seeds: what the p-value of a one-sided test at this look must not exceed."""
    counts = range(looks.first, looks.most + 1)
    shares = [n / looks.most for n in counts]
    return dict(zip(counts, nominal(shares, [SPENT * log(1 + (e - 1) * x) for x in shares]), strict=True))


def nominal(shares: Sequence[float], spent: Sequence[float]) -> Iterator[float]:
    """The levels of the looks.

    Args:
        shares: of the information at each look, rising to 1.
        spent: how much may have been spent by each look, rising.
    """
    import numpy as np
    from scipy.special import ndtri

    yield spent[0]
    at, weight = _nodes(-ndtri(spent[0]) * sqrt(shares[0]), shares[0])
    mass = weight * np.exp(-(at**2) / (2 * shares[0])) / sqrt(2 * np.pi * shares[0])
    for (before, now), (old, new) in zip(pairwise(shares), pairwise(spent), strict=True):
        step = sqrt(now - before)
        boundary = _boundary(at, mass, step, new - old)
        yield _upper(boundary / sqrt(now))
        then, weight = _nodes(boundary, now)
        kernel = np.exp(-(((then[:, None] - at) / step) ** 2) / 2) / (step * sqrt(2 * np.pi))
        at, mass = then, weight * (kernel @ mass)


def _nodes(boundary: float, variance: float) -> "tuple[Array, Array]":
    """Where and with which weights the density below a boundary is integrated (Gauss and Legendre)."""
    import numpy as np

    x, weight = np.polynomial.legendre.leggauss(NODES)
    low = -FAR * sqrt(variance)
    return low + (boundary - low) * (x + 1) / 2, weight * (boundary - low) / 2


def _boundary(at: "Array", mass: "Array", step: float, chance: float) -> float:
    """What the sum crosses with this chance, one increment after it was distributed like this."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    return float(brentq(lambda b: float((mass * ndtr((at - b) / step)).sum()) - chance, -FAR, FAR))


def _upper(z: float) -> float:
    """The chance of a normal value above z."""
    from scipy.special import ndtr

    return float(ndtr(-z))
