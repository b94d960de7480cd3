"""The paired comparison: the shared seeds, the tests against scipy.stats, the levels of a plan."""

import pytest
import scipy

from kdbench.verdict.paired import Paired, level_of, paired
from kdbench.verdict.sequential import InterimPlan, levels

ONE = {0: 71.0, 1: 71.5, 2: 71.2, 3: 99.0}
OTHER = {0: 70.5, 1: 70.8, 2: 70.9, 9: 1.0}


def test_only_the_shared_seeds_are_compared() -> None:
    found = paired(ONE, OTHER)
    assert found.by_seed == pytest.approx({0: 0.5, 1: 0.7, 2: 0.3})
    assert found.n == 3
    assert found.difference == pytest.approx(0.5)


@pytest.mark.parametrize("values", [{}, {0: 1.0}])
def test_fewer_than_two_seeds_are_no_test(values: dict[int, float]) -> None:
    found = Paired(values)
    tests = (found.p_above(), found.p_below(), found.p_not_above(), found.p_within(1.0), found.p_outside(1.0))
    assert {found.interval, *tests} == {None}
    assert found.difference == values.get(0)


def test_interval_and_p_are_those_of_the_paired_t_test() -> None:
    found, theirs = paired(ONE, OTHER), scipy.stats.ttest_1samp([0.5, 0.7, 0.3], 0.1, alternative="greater")
    assert found.p_above(0.1) == pytest.approx(theirs.pvalue)
    assert found.p_below(0.1) == pytest.approx(1 - theirs.pvalue)
    low, high = scipy.stats.ttest_1samp([0.5, 0.7, 0.3], 0).confidence_interval(0.90)
    assert found.interval == pytest.approx((low, high))


def test_level_of_a_plan_widens_the_interval_and_scales_p() -> None:
    at = levels(InterimPlan())
    plain, planned = paired(ONE, OTHER), paired(ONE, OTHER, {}, at)
    assert planned.level == at[3]
    assert planned.p_above() == pytest.approx((plain.p_above() or 0.0) * 0.05 / at[3])
    assert (planned.interval or (0.0,))[0] < (plain.interval or (0.0,))[0]


def test_level_beyond_the_plan_is_the_smallest() -> None:
    assert level_of({2: 0.02, 3: 0.01}, 9) == 0.01
    assert level_of({}, 9) == 0.05


@pytest.mark.parametrize(
    ("margin", "not_above", "below"), [(0.0, 0.0, 1.0), (0.5, 0.0, 0.0), (-0.5, 1.0, 1.0)]
)
def test_equal_runs_are_certainly_no_better_and_no_worse(
    margin: float, not_above: float, below: float
) -> None:
    same = paired(ONE, ONE)
    assert (same.p_not_above(margin), same.p_below(margin)) == (not_above, below)
