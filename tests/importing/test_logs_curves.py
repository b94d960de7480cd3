"""kdbench/importing/logs_curves.py: restarts, missing epochs, units."""

import pytest

from kdbench.errors import UserError
from kdbench.importing.logs_curves import Curve, curves, in_percent
from kdbench.importing.logs_files import Point, Stretch


def stretch(*points: tuple[int, float], best: float | None = None, finished: bool | None = None) -> Stretch:
    return Stretch(place="log", points=[Point(*each) for each in points], best=best, finished=finished)


def test_epochs_that_begin_again_at_the_first_are_two_runs() -> None:
    one, two = curves(stretch((1, 50), (2, 60), (1, 51), (2, 61), finished=True))
    assert (one.top1, two.top1) == ((50, 60), (51, 61))
    # What was followed by another start did not say that it ended.
    assert [one.finished, two.finished] == [False, True]
    assert (two.last, two.best) == (61, 61)


def test_a_restart_on_the_way_replaces_what_it_did_again() -> None:
    (only,) = curves(stretch((1, 50), (2, 60), (3, 70), (2, 62), (3, 69)))
    assert list(only.top1) == [50, 62, 69]
    assert only.notes == ("restarted at epoch 2 after epoch 3",)


def test_missing_epochs_are_noted_and_not_filled() -> None:
    (only,) = curves(stretch((1, 50), (2, 60), (5, 70), (7, 72)))
    assert (only.epochs, only.top1) == ((1, 2, 5, 7), (50, 60, 70, 72))
    assert only.notes == ("without epochs 3 to 4, 6",)


def test_epochs_from_0_are_counted_from_1() -> None:
    (only,) = curves(stretch((0, 50), (1, 60)))
    assert only.epochs == (1, 2)
    assert only.notes == ("epochs counted from 0 in the log",)


def test_a_best_that_its_epochs_do_not_have_is_noted() -> None:
    (only,) = curves(stretch((1, 60.004), best=60.0))
    assert only.notes == ()
    (other,) = curves(stretch((1, 60), best=61.5))
    assert other.notes == ("the log states best 61.5, its epochs have 60",)


def run(*top1: float) -> Curve:
    epochs = tuple(range(1, len(top1) + 1))
    return Curve(place="log", epochs=epochs, top1=top1, last=top1[-1], best=max(top1))


def test_fractions_become_percent() -> None:
    (only,), sentence = in_percent([run(0.5, 0.7137)], "auto")
    assert only.top1 == (50.0, 71.37)
    assert (only.last, only.best) == (71.37, 71.37)
    assert "fractions" in sentence


@pytest.mark.parametrize("unit", ["auto", "percent"])
def test_percent_stays(unit: str) -> None:
    runs, sentence = in_percent([run(0.98, 71.37)], unit)
    assert runs == [run(0.98, 71.37)]
    assert sentence == ""


@pytest.mark.parametrize(
    ("runs", "unit", "message"),
    [
        ([run(50.0, 0.71)], "auto", "epoch 2 has 0.71 after 50: fractions and percent are mixed"),
        ([run(50.0, 70.0), run(0.5, 0.7)], "auto", "at most 0.7, a fraction, but 70, percent"),
        ([run(50.0, 101.0)], "auto", "101 is no accuracy in percent"),
        ([run(-1.0, 50.0)], "auto", "-1 is no accuracy in percent"),
        ([run(0.5, 1.2)], "fraction", "1.2 is no accuracy in fractions"),
    ],
)
def test_units_that_are_mixed_or_impossible(runs: list[Curve], unit: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        in_percent(runs, unit)
