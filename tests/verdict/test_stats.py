"""Intervals and equivalence: against scipy.stats, and by cases; error rates: test_error_rates.py."""

from math import sqrt

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from kdbench.verdict.stats import (
    MOST_SEEDS,
    Spread,
    detection_power,
    equivalence_p,
    error_count_spread,
    greater_p,
    half_width,
    mean,
    outside_p,
    seeds_needed,
    spread,
    standard_error,
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


@pytest.mark.parametrize(("loss", "margin", "n"), [(1.0, 0.0, 5), (1.0, 0.5, 3), (0.0, 0.0, 5)])
def test_detection_power_is_what_is_drawn(loss: float, margin: float, n: int) -> None:
    values = np.random.default_rng(0).normal(-loss, 0.5, (20_000, n))
    half = scipy.stats.t.ppf(0.95, n - 1) * values.std(1, ddof=1) / sqrt(n)
    drawn = (values.mean(1) + half < -margin).mean()
    assert detection_power(loss, margin, Spread(0.5, n)) == pytest.approx(drawn, abs=0.01)


def test_detection_power_without_spread_is_certain() -> None:
    assert [detection_power(loss, 0.5, Spread(0.0, 3)) for loss in (0.5, 0.6)] == [0.0, 1.0]


def test_mean_and_std_of_hand_made_numbers() -> None:
    assert mean([70.0, 71.0, 75.0]) == 72.0
    assert spread([70.0, 71.0, 75.0]) == Spread(sqrt((4 + 1 + 9) / 2), 3)


@pytest.mark.parametrize("values", [[], [71.0]])
def test_spread_of_fewer_than_two_values_is_unknown(values: list[float]) -> None:
    assert spread(values) is None


def test_half_width_against_an_exact_number_is_that_of_ttest_1samp() -> None:
    interval = scipy.stats.ttest_1samp(ISSUE, 76.32).confidence_interval(0.90)
    assert half_width(spread_of(ISSUE)) == pytest.approx((interval.high - interval.low) / 2)


def test_half_width_against_a_spread_is_that_of_welch() -> None:
    interval = scipy.stats.ttest_ind(ISSUE, PRINTED, equal_var=False).confidence_interval(0.90)
    found = half_width(spread_of(ISSUE), spread_of(PRINTED))
    assert found == pytest.approx((interval.high - interval.low) / 2)


@pytest.mark.parametrize("margin", [0.1, 0.35, 0.5, 1.0])
def test_equivalence_p_against_an_exact_number_is_two_ttests_1samp(margin: float) -> None:
    low = scipy.stats.ttest_1samp(ISSUE, 76.32 - margin, alternative="greater").pvalue
    high = scipy.stats.ttest_1samp(ISSUE, 76.32 + margin, alternative="less").pvalue
    found = equivalence_p(mean(ISSUE) - 76.32, margin, spread_of(ISSUE))
    assert found == pytest.approx(max(low, high))


@pytest.mark.parametrize("margin", [3.0, 4.9, 5.0, 6.0])
def test_equivalence_p_against_a_spread_is_two_welch_tests(margin: float) -> None:
    shifted = np.asarray(PRINTED)
    low = scipy.stats.ttest_ind(ISSUE, shifted - margin, equal_var=False, alternative="greater").pvalue
    high = scipy.stats.ttest_ind(ISSUE, shifted + margin, equal_var=False, alternative="less").pvalue
    difference = mean(ISSUE) - mean(PRINTED)
    assert equivalence_p(difference, margin, spread_of(ISSUE), spread_of(PRINTED)) == pytest.approx(
        max(low, high)
    )


@pytest.mark.parametrize(("margin", "p"), [(0.5, 0.063), (1.0, 0.0007)])
def test_equivalence_p_of_the_runs_of_the_issue(margin: float, p: float) -> None:
    found = equivalence_p(mean(ISSUE) - 76.32, margin, spread_of(ISSUE))
    assert found == pytest.approx(p, abs=0.5 * 10 ** -len(str(p).partition(".")[2]))


@given(st.floats(-1, 1), st.floats(0.05, 1), Floats, Sizes, st.none() | st.builds(Spread, Floats, Sizes))
def test_p_below_five_percent_means_the_interval_lies_inside(
    difference: float, margin: float, std: float, n: int, printed: Spread | None
) -> None:
    measured = Spread(std, n)
    reach = abs(difference) + half_width(measured, printed)
    p = equivalence_p(difference, margin, measured, printed)
    assert (p <= 0.05) == (reach <= margin) or p == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(("difference", "p"), [(0.0, 0.0), (0.5, 0.0), (76.82 - 76.32, 0.0), (-0.51, 1.0)])
def test_equivalence_p_without_any_spread_is_certain(difference: float, p: float) -> None:
    assert equivalence_p(difference, 0.5, Spread(0.0, 3)) == p


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
    assert standard_error(measured, printed)[1] == pytest.approx(degrees)


@pytest.mark.parametrize(
    ("difference", "std", "n", "more"),
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
def test_seeds_needed_against_an_exact_number(
    difference: float, std: float, n: int, more: int | None
) -> None:
    assert seeds_needed(difference, 0.5, Spread(std, n)) == more


def test_seeds_needed_when_the_printed_error_alone_is_too_large() -> None:
    assert seeds_needed(0.0, 0.5, Spread(0.1, 2), Spread(1.0, 3)) is None


@given(st.floats(-0.6, 0.6), Floats, Sizes, st.none() | st.builds(Spread, Floats, Sizes))
def test_seeds_needed_is_the_first_count_whose_interval_lies_inside(
    difference: float, std: float, n: int, printed: Spread | None
) -> None:
    reach = [abs(difference) + half_width(Spread(std, n + more), printed) for more in range(MOST_SEEDS + 1)]
    first = next((more for more, far in enumerate(reach) if far <= 0.5 + 1e-9), None)
    assert seeds_needed(difference, 0.5, Spread(std, n), printed) == first


def test_half_width_of_many_values_is_that_of_the_normal() -> None:
    assert half_width(Spread(1.0, 10**8)) * 10**4 == pytest.approx(scipy.stats.norm.ppf(0.95))


@pytest.mark.parametrize("values", [[0.1, 0.3, -0.2], [1.0, 1.2]])
@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_greater_p_is_that_of_ttest_1samp(values: list[float], margin: float) -> None:
    expected = scipy.stats.ttest_1samp(values, margin, alternative="greater").pvalue
    assert greater_p(values, margin) == pytest.approx(expected)


@pytest.mark.parametrize(("values", "p"), [([0.2, 0.2], 0.0), ([0.0, 0.0], 1.0), ([-0.2, -0.2], 1.0)])
def test_greater_p_without_any_spread_is_certain(values: list[float], p: float) -> None:
    assert greater_p(values) == p


@given(st.floats(-2, 2), st.floats(0.05, 1), Floats, Sizes, st.none() | st.builds(Spread, Floats, Sizes))
def test_outside_p_below_five_percent_means_the_interval_lies_outside(
    difference: float, margin: float, std: float, n: int, printed: Spread | None
) -> None:
    measured = Spread(std, n)
    nearest = abs(difference) - half_width(measured, printed)
    p = outside_p(difference, margin, measured, printed)
    assert (p <= 0.05) == (nearest >= margin) or p == pytest.approx(0.05, abs=1e-9)


def test_levels_of_planned_analyses_ask_for_more_seeds() -> None:
    levels = {4: 0.001, 5: 0.01, 6: 0.05}
    assert seeds_needed(0.0, 0.5, Spread(0.3, 3)) == 1
    assert seeds_needed(0.0, 0.5, Spread(0.3, 3), None, levels) == 3
    assert seeds_needed(0.0, 0.5, Spread(3.0, 3), None, levels) is None


@pytest.mark.parametrize(("errors", "std"), [(74, 0.0857), (4730, 0.4993), (0, 0.0100), (10_000, 0.0100)])
def test_error_count_has_its_binomial_error(errors: int, std: float) -> None:
    """100 sqrt(p (1 - p) / n); none of an extreme count, which is not certain either."""
    found = error_count_spread(errors, 10_000)
    assert found.std == pytest.approx(std, abs=1e-4)
    assert (found.n, found.degrees) == (1, np.inf)


@pytest.mark.parametrize(("seeds", "share"), [(3, 0.0074), (5, 0.0146)])
def test_interval_of_a_difference_from_an_error_count_holds_it_in_90_percent(
    seeds: int, share: float
) -> None:
    """Drawn 4,000 times: a printed count of 10,000 images, and seeds that scatter by 0.05 points."""
    draw = np.random.default_rng(seeds)
    held = 0
    for _ in range(4000):
        errors = int(draw.binomial(10_000, share))
        values = draw.normal(100 - 100 * share, 0.05, seeds).tolist()
        scatter = spread(values)
        assert scatter is not None
        half = half_width(scatter, error_count_spread(errors, 10_000))
        held += abs(mean(values) - (100 - errors / 100)) <= half
    assert 0.88 < held / 4000 < 0.93
