"""A row over versions: the order, the change points, and how often they are wrong."""

from itertools import chain

import numpy as np
import pytest
from msgspec.structs import replace

from kdbench.evidence.history import Point, history, sparkline
from kdbench.spec.results import Result
from tests.support.build import make_result, make_run


def trained(commit: str, day: int, *top1: float, dirty: bool = False) -> list[Result]:
    """Results of a version, one for each seed."""
    known: dict[str, str | int | float | bool | None] = {
        "commit": commit * 8,
        "dirty": dirty,
        "finished": f"2026-11-{day:02}",
    }
    runs = [make_run(seed=seed) for seed in range(len(top1))]
    return [replace(make_result(run, 1.0, of), environment=known) for run, of in zip(runs, top1, strict=True)]


def changes(points: list[Point]) -> dict[str, float]:
    return {point.version[:1]: point.change for point in points if point.change is not None}


def test_versions_come_in_the_order_of_their_training() -> None:
    points = history([*trained("b", 2, 70.0), *trained("a", 9, 70.0), *trained("c", 1, 70.0)], "last")
    assert [point.version for point in points] == ["cccccccc", "bbbbbbbb", "aaaaaaaa"]


def test_changed_checkout_is_another_version() -> None:
    points = history([*trained("a", 1, 70.0), *trained("a", 2, 70.0, dirty=True)], "last")
    assert [point.version for point in points] == ["aaaaaaaa", "aaaaaaaa+changes"]


def test_repeats_of_a_seed_count_as_their_mean() -> None:
    points = history([*trained("a", 1, 70.0, 71.0), *trained("a", 2, 72.0)], "last")
    assert points[0].values == {0: 71.0, 1: 71.0}


def test_any_difference_between_bit_equal_trainings_is_a_change() -> None:
    nights = [trained(commit, day, 70.0, 71.0) for day, commit in enumerate("abc", 1)]
    points = history([*chain(*nights), *trained("d", 9, 69.9, 70.8)], "last")
    assert changes(points) == {"d": pytest.approx(-0.15)}


def test_seeds_that_differ_hide_no_change() -> None:
    before = [trained(commit, day, 60.0, 70.0, 80.0 + day / 100) for day, commit in enumerate("abcd", 1)]
    after = [trained(commit, day, 59.0, 69.0, 79.0 + day / 100) for day, commit in enumerate("efg", 5)]
    assert changes(history(chain(*before + after), "last")) == {"e": pytest.approx(-0.97, abs=0.02)}


def test_two_changes_are_both_found() -> None:
    levels = dict.fromkeys("abc", 70.0) | dict.fromkeys("def", 72.0) | dict.fromkeys("ghi", 71.0)
    nights = [trained(name, day, of, of + 1) for day, (name, of) in enumerate(levels.items(), 1)]
    assert changes(history(chain(*nights), "last")) == {"d": pytest.approx(2.0), "g": pytest.approx(-1.0)}


def test_one_version_has_no_change() -> None:
    assert changes(history(trained("a", 1, 70.0, 71.0), "last")) == {}


def test_row_that_never_changed_is_seldom_said_to_have_changed() -> None:
    draw = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        values = draw.normal(70, 0.3, size=(8, 3)) + draw.normal(0, 0.3, size=3)
        nights = [trained("abcdefgh"[day], day + 1, *values[day]) for day in range(8)]
        wrong += bool(changes(history(chain(*nights), "last")))
    assert wrong <= 0.05 * 200 + 3 * (0.05 * 0.95 * 200) ** 0.5


def test_sparkline_goes_from_least_to_greatest() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
