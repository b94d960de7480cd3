"""Intervals and equivalence: against scipy.stats, by cases, and by their error rates."""

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdbench.stats import (
    MOST_SEEDS,
    Spread,
    equivalence_p,
    error,
    half_width,
    mean,
    seeds_needed,
    spread,
)

ISSUE = [76.20, 75.80, 75.89, 75.85, 76.15]
"""Five runs whose printed accuracy is 76.32."""

PRINTED = [70.89, 71.05, 71.21]
"""Three runs of mean 71.05 and standard deviation 0.16."""

Floats = st.floats(0.01, 2)
Sizes = st.integers(2, 12)


def spread_of(values: list[float]) -> Spread:
    """The spread of at least two values."""
    found = spread(values)
    assert found is not None
    return found


def test_mean_and_std_of_hand_made_numbers() -> None:
    assert mean([70.0, 71.0, 75.0]) == 72.0
    assert spread([70.0, 71.0, 75.0]) == Spread(sqrt((4 + 1 + 9) / 2), 3)


@pytest.mark.parametrize("values", [[], [71.0]])
def test_spread_of_fewer_than_two_values_is_unknown(values: list[float]) -> None:
    assert spread(values) is None


def test_half_width_against_an_exact_number_is_that_of_ttest_1samp() -> None:
    interval = stats.ttest_1samp(ISSUE, 76.32).confidence_interval(0.90)
    assert half_width(spread_of(ISSUE)) == pytest.approx((interval.high - interval.low) / 2)


def test_half_width_against_a_spread_is_that_of_welch() -> None:
    interval = stats.ttest_ind(ISSUE, PRINTED, equal_var=False).confidence_interval(0.90)
    found = half_width(spread_of(ISSUE), spread_of(PRINTED))
    assert found == pytest.approx((interval.high - interval.low) / 2)


@pytest.mark.parametrize("margin", [0.1, 0.35, 0.5, 1.0])
def test_equivalence_p_against_an_exact_number_is_two_ttests_1samp(margin: float) -> None:
    low = stats.ttest_1samp(ISSUE, 76.32 - margin, alternative="greater").pvalue
    high = stats.ttest_1samp(ISSUE, 76.32 + margin, alternative="less").pvalue
    found = equivalence_p(mean(ISSUE) - 76.32, margin, spread_of(ISSUE))
    assert found == pytest.approx(max(low, high))


@pytest.mark.parametrize("margin", [3.0, 4.9, 5.0, 6.0])
def test_equivalence_p_against_a_spread_is_two_welch_tests(margin: float) -> None:
    shifted = np.asarray(PRINTED)
    low = stats.ttest_ind(ISSUE, shifted - margin, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(ISSUE, shifted + margin, equal_var=False, alternative="less").pvalue
    off = mean(ISSUE) - mean(PRINTED)
    assert equivalence_p(off, margin, spread_of(ISSUE), spread_of(PRINTED)) == pytest.approx(max(low, high))


@pytest.mark.parametrize(("margin", "p"), [(0.5, 0.063), (1.0, 0.0007)])
def test_equivalence_p_of_the_runs_of_the_issue(margin: float, p: float) -> None:
    found = equivalence_p(mean(ISSUE) - 76.32, margin, spread_of(ISSUE))
    assert found == pytest.approx(p, abs=0.5 * 10 ** -len(str(p).partition(".")[2]))


@given(st.floats(-1, 1), st.floats(0.05, 1), Floats, Sizes, st.none() | st.builds(Spread, Floats, Sizes))
def test_p_below_five_percent_means_the_interval_lies_inside(
    off: float, margin: float, std: float, n: int, printed: Spread | None
) -> None:
    measured = Spread(std, n)
    reach = abs(off) + half_width(measured, printed)
    p = equivalence_p(off, margin, measured, printed)
    assert (p <= 0.05) == (reach <= margin) or p == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(("off", "p"), [(0.0, 0.0), (0.5, 0.0), (76.82 - 76.32, 0.0), (-0.51, 1.0)])
def test_equivalence_p_without_any_spread_is_certain(off: float, p: float) -> None:
    assert equivalence_p(off, 0.5, Spread(0.0, 3)) == p


def test_half_width_without_any_spread_is_zero() -> None:
    assert half_width(Spread(0.0, 2)) == 0.0


@pytest.mark.parametrize(
    ("measured", "printed", "degrees"),
    [
        (Spread(0.2, 5), None, 4),
        (Spread(0.2, 5), Spread(0.0, 3), 4),
        (Spread(0.0, 5), Spread(0.2, 3), 2),
        (Spread(0.2, 5), Spread(0.2, 5), 8),
        (Spread(1e-200, 5), Spread(0.2, 3), 2),
    ],
)
def test_degrees_of_freedom_by_which_mean_scatters(
    measured: Spread, printed: Spread | None, degrees: float
) -> None:
    assert error(measured, printed)[1] == pytest.approx(degrees)


@pytest.mark.parametrize(
    ("off", "std", "n", "more"),
    [
        (0.0, 0.1, 3, 0),
        (0.342, 0.184, 5, 1),
        (0.0, 0.5, 2, 3),
        (0.4, 0.3, 3, 24),
        (0.49, 0.3, 3, None),
        (0.5, 0.3, 3, None),
        (-0.6, 0.1, 3, None),
        (0.2, 0.0, 2, 0),
    ],
)
def test_seeds_needed_against_an_exact_number(off: float, std: float, n: int, more: int | None) -> None:
    assert seeds_needed(off, 0.5, Spread(std, n)) == more


def test_seeds_needed_when_the_printed_error_alone_is_too_large() -> None:
    assert seeds_needed(0.0, 0.5, Spread(0.1, 2), Spread(1.0, 3)) is None


@given(st.floats(-0.6, 0.6), Floats, Sizes, st.none() | st.builds(Spread, Floats, Sizes))
def test_seeds_needed_is_the_first_count_whose_interval_lies_inside(
    off: float, std: float, n: int, printed: Spread | None
) -> None:
    reach = [abs(off) + half_width(Spread(std, n + more), printed) for more in range(MOST_SEEDS + 1)]
    first = next((more for more, far in enumerate(reach) if far <= 0.5 + 1e-9), None)
    assert seeds_needed(off, 0.5, Spread(std, n), printed) == first


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.3, 0.5])
def test_equivalence_at_the_margin_is_claimed_in_at_most_one_case_in_twenty(n: int, sigma: float) -> None:
    draws = np.random.default_rng(n).normal(0.5, sigma, (100_000, n))
    unit = half_width(Spread(1.0, n))
    claimed = np.abs(draws.mean(1)) + unit * draws.std(1, ddof=1) <= 0.5
    assert claimed.mean() <= 0.055


@pytest.mark.parametrize("n", [2, 3, 5])
def test_equivalence_at_the_margin_against_a_printed_spread_keeps_its_error_rate(n: int) -> None:
    rng = np.random.default_rng(n)
    measured, printed = rng.normal(0.5, 0.2, (5_000, n)), rng.normal(0, 0.2, (5_000, 3))
    pairs = zip(measured.tolist(), printed.tolist(), strict=True)
    p = [equivalence_p(mean(a) - mean(b), 0.5, spread_of(a), spread_of(b)) for a, b in pairs]
    assert np.mean(np.asarray(p) <= 0.05) <= 0.06


def test_half_width_of_many_values_is_that_of_the_normal() -> None:
    assert half_width(Spread(1.0, 10**8)) * 10**4 == pytest.approx(stats.norm.ppf(0.95))


def power_table() -> list[list[float]]:
    """The rows of the table of docs/verdicts.md: the number of seeds, then percents by spread."""
    page = Path(__file__).parent.parent / "docs" / "verdicts.md"
    body = page.read_text(encoding="utf-8").partition("| ---: |")[2].split("\n\n")[0].splitlines()[1:]
    return [[float(cell) for cell in line.strip("|").split("|")] for line in body]


@pytest.mark.parametrize("row", power_table(), ids=lambda row: f"{row[0]:.0f} seeds")
def test_power_in_the_documentation_is_what_is_drawn(row: list[float]) -> None:
    n = int(row[0])
    unit = half_width(Spread(1.0, n))
    for sigma, percent in zip((0.1, 0.2, 0.3, 0.5), row[1:], strict=True):
        draws = np.random.default_rng(1).normal(0.0, sigma, (50_000, n))
        claimed = np.abs(draws.mean(1)) + unit * draws.std(1, ddof=1) <= 0.5
        assert 100 * claimed.mean() == pytest.approx(percent, abs=1.0)
