"""How often a verdict is wrong, by simulation: what docs/verdicts.md promises."""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import scipy
from numpy.typing import NDArray

from kdbench.spec.verdicts import Word
from kdbench.verdict.check import verdict_of
from kdbench.verdict.power import power_table
from kdbench.verdict.stats import Spread, power
from tests.support.places import ROOT

MARGIN = 0.5
SEEDS = [2, 3, 5, 10]
SIGMAS = [0.1, 0.2, 0.3, 0.5]
DRAWS = 100_000
WRONG = 0.055
"""The most that may be wrong: 5 %, and what the drawing adds."""
WELCH = 0.058
"""The same against a printed spread: Welch's degrees of freedom are an approximation."""

Values = NDArray[np.float64]
INVERSE = np.linspace(0.02, 1.0, 5_000)
QUANTILES = INVERSE, scipy.special.stdtrit(1 / INVERSE, 0.95)
"""Of Student's t by the inverse of its degrees, 1 to 50: nearly straight lines from one to the next."""


class Samples(NamedTuple):
    """Of many samples of n values each: their means, and their variances (n - 1 below)."""

    mean: Values
    variance: Values
    n: int


def samples_of(values: Values) -> Samples:
    return Samples(values.mean(1), values.var(1, ddof=1), values.shape[1])


@cache
def standard(n: int) -> Samples:
    """Many samples of n standard normal values."""
    return samples_of(np.random.default_rng(n).normal(size=(DRAWS, n)))


def draw(n: int, sigma: float, difference: float) -> Samples:
    """The same samples as at each call, scaled and shifted."""
    mean, variance, _ = standard(n)
    return Samples(difference + sigma * mean, sigma**2 * variance, n)


def words(samples: Samples, printed: Samples | None = None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each sample: whether it is `reproduced`, and whether `below` or `above`, as `verdict_of` has it."""
    difference, n = samples.mean, samples.n
    variance = error = samples.variance / n
    quantile = scipy.special.stdtrit(n - 1, 0.95)
    if printed is not None:
        other = printed.variance / printed.n
        difference, error = difference - printed.mean, variance + other
        degrees = error**2 / (variance**2 / (n - 1) + other**2 / (printed.n - 1))
        quantile = np.interp(1 / degrees, *QUANTILES)
    half = quantile * np.sqrt(error)
    return abs(difference) + half <= MARGIN, abs(difference) - half > MARGIN


@pytest.mark.parametrize("runs", [None, 3])
@pytest.mark.parametrize("n", SEEDS)
def test_simulated_words_are_those_of_the_verdict(n: int, runs: int | None) -> None:
    random = np.random.default_rng(n)
    values = random.normal(0.4, 0.3, (200, n))
    printed = None if runs is None else random.normal(0.0, 0.1, (200, runs))
    inside, outside = words(samples_of(values), None if printed is None else samples_of(printed))
    for place, row in enumerate(values):
        other = np.zeros(1) if printed is None else printed[place]
        error = None if printed is None else Spread(float(other.std(ddof=1)), len(other))
        word = verdict_of(row.tolist(), float(other.mean()), MARGIN, error=error).word
        assert (word is Word.REPRODUCED, word in (Word.BELOW, Word.ABOVE)) == (inside[place], outside[place])


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("n", SEEDS)
def test_verdict_at_the_margin_is_wrong_in_at_most_one_case_in_twenty(n: int, sigma: float) -> None:
    inside, outside = words(draw(n, sigma, MARGIN))
    assert inside.mean() <= WRONG
    assert outside.mean() <= WRONG


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("n", SEEDS)
def test_verdict_inside_the_margin_is_below_or_above_more_rarely_still(n: int, sigma: float) -> None:
    assert words(draw(n, sigma, 0.8 * MARGIN))[1].mean() <= 0.05
    assert words(draw(n, sigma, 0.0))[1].mean() <= 0.05


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("n", SEEDS)
def test_verdict_against_a_printed_spread_keeps_its_error_rate(n: int, sigma: float) -> None:
    mean, variance, _ = samples_of(np.random.default_rng(100).normal(size=(DRAWS, 3)))
    inside, outside = words(draw(n, sigma, MARGIN), Samples(sigma * mean, sigma**2 * variance, 3))
    assert inside.mean() <= WELCH
    assert outside.mean() <= WELCH


COUNTS = (2, 3, 5, 10, 20)


@pytest.mark.slow
def test_worst_rate_against_printed_runs_is_that_of_the_documentation() -> None:
    """Seeds against printed runs of another number and spread: two against twenty that scatter alike."""
    rates = {}
    for n, k, ratio in product(COUNTS, COUNTS, (0.2, 1 / 3, 0.5, 1.0, 2.0, 3.0, 5.0)):
        random = np.random.default_rng([n, k, round(100 * ratio)])
        values = random.normal(MARGIN, 0.05 * ratio, (20_000, n))
        printed = random.normal(0.0, 0.05, (20_000, k))
        rates[n, k, ratio] = max(word.mean() for word in words(samples_of(values), samples_of(printed)))
    worst = max(rates, key=lambda key: rates[key])
    assert worst in {(2, 20, 1.0), (20, 2, 1.0)}
    assert rates[worst] == pytest.approx(0.083, abs=0.004)
    page = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    assert "is 8.3 %: two on one side and twenty" in " ".join(page.split())


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("difference", [0.0, 0.3])
def test_power_is_what_is_drawn(n: int, sigma: float, difference: float) -> None:
    assert words(draw(n, sigma, difference))[0].mean() == pytest.approx(
        power(difference, MARGIN, sigma, n), abs=0.006
    )


def test_power_table_of_the_documentation_is_what_kdbench_prints() -> None:
    page = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
    assert power_table(margin=0.5, difference=0.0, stds="0.1,0.2,0.3,0.5", seeds="2,3,5,10") in page
