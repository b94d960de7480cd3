"""Two sides of a row held against each other: the word, the interval, the order."""

import numpy as np
import pytest
import scipy
from msgspec.structs import replace

from kdbench.evidence.compare import (
    Change,
    Compared,
    Comparison,
    Side,
    compare_row,
    headline,
    measured_side,
    printed_side,
    regressed,
    shift,
    sort,
)
from kdbench.evidence.trainings import experiment
from kdbench.spec.runs import Teacher
from kdbench.spec.suites import Reference
from kdbench.verdict.sequential import InterimPlan
from kdbench.verdict.stats import Spread
from tests.support.build import make_cell, make_result, make_row, make_run

ROW = make_row(reference=Reference(top1=71.0, std=0.2, n=3))


def side(*values: float) -> Side:
    return Side(dict(enumerate(values)))


@pytest.mark.parametrize(
    ("b", "change"),
    [
        ((70.0, 70.2, 70.1), Change.SAME),
        ((68.9, 69.1, 69.0), Change.REGRESSION),
        ((71.0, 71.2, 71.1), Change.IMPROVEMENT),
        ((70.0, 70.9, 70.1), Change.WITHIN),
        ((68.0, 70.4, 70.1), Change.UNDECIDED),
    ],
)
def test_change_is_that_of_the_interval(b: tuple[float, ...], change: Change) -> None:
    assert compare_row(ROW, side(70.0, 70.2, 70.1), side(*b)).change == change


def test_pairs_are_judged_by_their_differences() -> None:
    found = compare_row(ROW, side(68.0, 70.0, 72.0), side(67.9, 69.9, 71.9))
    assert (found.paired, found.n, found.change) == (True, (3, 3), Change.SAME)
    assert found.difference == pytest.approx(-0.1)
    assert found.interval == pytest.approx((-0.1, -0.1))


def test_other_seeds_are_judged_by_welch() -> None:
    found = compare_row(ROW, Side({0: 70.0, 1: 70.2}), Side({2: 70.1, 3: 70.3, 4: 70.2}))
    welch = scipy.stats.ttest_ind([70.1, 70.3, 70.2], [70.0, 70.2], equal_var=False).confidence_interval(0.9)
    assert (found.paired, found.n) == (False, (2, 3))
    assert found.interval == pytest.approx((welch.low, welch.high))


def test_only_the_shared_seeds_are_compared() -> None:
    found = compare_row(ROW, Side({0: 70.0, 1: 70.2, 2: 99.0}), Side({0: 70.0, 1: 70.2, 3: 1.0}))
    assert found.n == (2, 2)
    assert [found.a, found.b] == pytest.approx([70.1, 70.1])


def test_one_pair_of_values_is_no_test() -> None:
    far, near = (compare_row(ROW, side(70.0), side(b)) for b in (68.0, 70.2))
    assert (far.change, near.change) == (Change.SINGLE_SEED, Change.WITHIN)
    assert not regressed(Compared("a", "b", [far], {}))


def shifted(by: float, rows: int = 71) -> list[Comparison]:
    """Rows of three seeds that all lie a little higher or lower, each with noise of its own."""
    draw = np.random.default_rng(0)
    return [
        compare_row(ROW, side(*a), side(*b))
        for a, b in zip(
            draw.normal(70.0, 0.3, (rows, 3)), draw.normal(70.0 + by, 0.3, (rows, 3)), strict=True
        )
    ]


@pytest.mark.parametrize(("by", "change"), [(-0.2, Change.REGRESSION), (0.2, Change.IMPROVEMENT)])
def test_small_shift_of_all_rows_is_seen_though_no_row_shows_it(by: float, change: Change) -> None:
    rows = shifted(by)
    found = shift(rows)
    assert found is not None
    assert (found.change, found.rows) == (change, 71)
    assert sum(row.change is change for row in rows) <= 1
    assert regressed(Compared("a", "b", rows, {}, found)) is (by < 0)


def test_shift_within_the_margin_that_was_asked_for_is_let_pass() -> None:
    found = shift(shifted(-0.2), margin=0.5)
    assert found is not None
    assert found.change is Change.SAME


def test_rows_that_did_not_shift_are_said_to_in_at_most_one_case_in_ten() -> None:
    """5 % to either side; rows differ by their seeds' noise and by a noise of their own."""
    draw, wrong = np.random.default_rng(1), 0
    for _ in range(1000):
        rows = [Comparison("a", Change.SAME, None, None, value) for value in draw.normal(0, 0.3, 10).tolist()]
        found = shift(rows)
        wrong += found is not None and found.change in (Change.REGRESSION, Change.IMPROVEMENT)
    assert 0.08 < wrong / 1000 < 0.12


def test_shift_of_a_single_row_is_that_row() -> None:
    assert shift(shifted(-5.0, rows=1)) is None


def test_margin_that_is_asked_for_replaces_the_tolerance() -> None:
    one, other = side(70.0, 70.2, 70.1), side(69.6, 69.8, 69.7)
    assert compare_row(ROW, one, other).change is Change.SAME
    assert compare_row(ROW, one, other, margin=0.2).change is Change.REGRESSION


def test_seeds_of_interim_analyses_are_compared_at_the_levels_of_their_plan() -> None:
    one, other = side(70.0, 70.2, 70.1), side(69.2, 69.6, 69.3)
    plain, planned = compare_row(ROW, one, other), compare_row(ROW, one, other, plan=InterimPlan())
    assert (plain.change, planned.change) == (Change.REGRESSION, Change.UNDECIDED)


def test_headline_has_the_shift_and_the_power() -> None:
    rows = shifted(-0.2, rows=3)
    text = headline(Compared("a", "b", rows, {}, shift(rows)))
    assert "All 3 rows together: -0.51, 90 % interval -0.62 to -0.41, margin 0: regression." in text
    assert "A loss of 1 point in one row is a regression in" in text


def test_one_value_against_several_keeps_its_sign() -> None:
    several, one = Side({0: 70.0, 1: 70.2, 2: 70.1}), Side({7: 68.0})
    down, up = compare_row(ROW, several, one), compare_row(ROW, one, several)
    assert (down.change, up.change) == (Change.REGRESSION, Change.IMPROVEMENT)
    assert [down.difference, up.difference] == pytest.approx([-2.1, 2.1])
    assert down.interval == pytest.approx((-up.interval[1], -up.interval[0]))  # type: ignore[index]


def test_printed_number_brings_its_spread() -> None:
    assert printed_side(ROW) == Side({}, 71.0, Spread(0.2, 3))
    assert printed_side(make_row(reference=Reference(top1=71.0, std=0.2))).printed_spread is None


def test_side_without_results_is_missing_or_new() -> None:
    bare = make_row()
    sides = {"a": side(70.0), "": Side()}
    words = [compare_row(bare, sides[a], sides[b]).change for a, b in [("a", ""), ("", "a"), ("", "")]]
    assert words == [Change.MISSING, Change.NEW, Change.NOTHING]


def test_measured_side_takes_the_rows_reading() -> None:
    cell = make_cell(make_row(report_epoch=1), seeds=[0, 1])
    results = {experiment(run): make_result(run, 50.0 + run.seed, 60.0) for run in cell.runs}
    assert measured_side(cell, results).values == {0: 50.0, 1: 51.0}


def test_experiment_is_the_same_for_all_protocols() -> None:
    run = make_run(teacher=make_run("resnet18"))
    assert run.teacher is not None
    later = replace(run, protocol=9, teacher=Teacher(replace(run.teacher.run, protocol=9), 2))
    assert experiment(later) == experiment(run)
    assert experiment(replace(run, seed=1)) != experiment(run)
    assert experiment(replace(run, teacher=Teacher(run.teacher.run, 1))) != experiment(run)


def test_regressions_come_first_and_the_worst_before() -> None:
    rows = [
        Comparison("a", Change.SAME, 1.0, 1.0, 0.0),
        Comparison("b", Change.REGRESSION, 2.0, 1.0, -1.0),
        Comparison("c", Change.MISSING, 1.0, None),
        Comparison("d", Change.REGRESSION, 4.0, 1.0, -3.0),
    ]
    assert [row.row for row in sort(rows)] == ["d", "b", "c", "a"]
