"""A row over versions: the order, the change points, and how often they are wrong."""

from itertools import chain

import numpy as np
import pytest
from msgspec.structs import replace

from kdbench.evidence.history import Point, history, sparkline, steps
from kdbench.spec.results import Environment, Result, Segment
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
    before = [
        trained(commit, day, 60.0 - day / 99, 70.0 + day / 80, 80.0 + day / 100)
        for day, commit in enumerate("abcd", 1)
    ]
    after = [
        trained(commit, day, 59.0 - day / 99, 69.0 + day / 80, 79.0 + day / 100)
        for day, commit in enumerate("efg", 5)
    ]
    assert changes(history(chain(*before + after), "last")) == {"e": pytest.approx(-0.97, abs=0.03)}


def test_two_changes_are_both_found() -> None:
    levels = dict.fromkeys("abc", 70.0) | dict.fromkeys("def", 72.0) | dict.fromkeys("ghi", 71.0)
    nights = [trained(name, day, of, of + 1) for day, (name, of) in enumerate(levels.items(), 1)]
    assert changes(history(chain(*nights), "last")) == {"d": pytest.approx(2.0), "g": pytest.approx(-1.0)}


def test_one_version_has_no_change() -> None:
    assert changes(history(trained("a", 1, 70.0, 71.0), "last")) == {}


def test_any_difference_is_a_change_where_repeats_are_bit_equal() -> None:
    """Every version gives something else, but each gives it twice."""
    nights = [
        [*trained(name, day, of), *trained(name, day, of)]
        for day, (name, of) in enumerate({"a": 70.0, "b": 70.1, "c": 69.8}.items(), 1)
    ]
    assert changes(history(chain(*nights), "last")) == {"b": pytest.approx(0.1), "c": pytest.approx(-0.3)}


def test_bit_equal_seeds_that_all_shift_are_a_change() -> None:
    nights = [
        trained(name, day, 70.0 + by, 71.0 + 2 * by)
        for day, (name, by) in enumerate({"a": 0.0, "b": 0.0, "c": -0.1}.items(), 1)
    ]
    assert changes(history(chain(*nights), "last")) == {"c": pytest.approx(-0.15)}


def test_repeats_that_differ_are_no_bit_equality() -> None:
    nights = [trained("a", 1, 70.0), trained("a", 1, 70.1), trained("b", 2, 70.0), trained("c", 3, 70.1)]
    assert changes(history(chain(*nights), "last")) == {}


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ({"commit": "b" * 8}, "bbbbbbbb"),
        ({"commit": "a" * 8, "dirty": True}, "aaaaaaaa+changes"),
        ({"kdbench": "0.1.0"}, "0.1.0"),
        ({}, "unknown"),
    ],
)
def test_run_of_two_versions_counts_for_neither_and_is_named(first: Environment, name: str) -> None:
    nights = [trained(commit, day, 70.0, 71.0) for day, commit in enumerate("abc", 1)]
    (resumed,) = trained("a", 9, 60.0)
    parts = (Segment(1, 1, first), Segment(2, 2, resumed.environment))
    points = history([*chain(*nights), replace(resumed, segments=parts)], "last")
    assert changes(points) == {}
    assert [point.mixed for point in points] == [False, False, False, True]
    assert points[-1].version == f"{name} then aaaaaaaa"
    alone = history([replace(resumed, segments=parts)], "last")
    assert [point.values for point in alone] == [{0: 60.0}]


def test_run_that_its_own_version_resumed_counts() -> None:
    (resumed,) = trained("a", 9, 60.0)
    parts = (Segment(1, 1, resumed.environment), Segment(2, 2, resumed.environment))
    (point,) = history([replace(resumed, segments=parts)], "last")
    assert (point.version, point.mixed) == ("aaaaaaaa", False)


def test_versions_without_a_common_seed_are_not_compared() -> None:
    nights = [
        [
            replace(result, run=make_run(seed=day // 5))
            for result in trained(name, day, 60.0 + 10 * (day // 5) + day / 100)
        ]
        for day, name in enumerate("abcdefghij")
    ]
    assert changes(history(chain(*nights), "last")) == {}


DESIGNS: dict[str, list[list[int]]] = {
    "the same seeds": [[0, 1, 2]] * 8,
    "one seed a version, repeated later": [[day % 3] for day in range(9)],
    "more seeds from some version on": [[0, 1, 2]] * 4 + [[0, 1, 2, 3, 4, 5]] * 4,
    "seeds that fail now and then": [[0, 1, 2], [0, 2], [0, 1, 2], [1, 2], [0, 1], [0, 1, 2], [1], [0, 1, 2]],
    "groups without a common seed": [[0, 1], [2], [0], [2], [0, 1], [2], [1], [2]],
}


@pytest.mark.parametrize("common", [0.0, 0.3])
@pytest.mark.parametrize("design", DESIGNS)
def test_row_that_never_changed_is_seldom_said_to_have_changed(design: str, common: float) -> None:
    """At most 5 %; seeds have their own level, and a version's seeds may share noise."""
    draw = np.random.default_rng(0)
    wrong, rounds = 0, 200
    for _ in range(rounds):
        level = draw.normal(70, 0.3, 6)
        points = [
            Point(str(day), "", {seed: float(level[seed] + noise + draw.normal(0, 0.3)) for seed in seeds})
            for day, (seeds, noise) in enumerate(
                zip(DESIGNS[design], draw.normal(0, common, 9), strict=False)
            )
        ]
        wrong += bool(steps(points))
    assert wrong <= 0.05 * rounds + 3 * (0.05 * 0.95 * rounds) ** 0.5


def test_change_beyond_the_noise_is_found() -> None:
    """A point among noise of 0.2, in ten versions of three seeds."""
    draw, found = np.random.default_rng(0), 0
    for _ in range(100):
        values = draw.normal(70, 0.2, (10, 3)) + draw.normal(0, 0.3, 3)
        values[5:] -= 1.0
        points = [Point(str(day), "", dict(enumerate(some))) for day, some in enumerate(values.tolist())]
        found += 5 in steps(points)
    assert found >= 95


def test_sparkline_goes_from_least_to_greatest() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
