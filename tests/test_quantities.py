"""Ranges of numbers: which values they hold, and that every parameter of a built-in loss declares one."""

from typing import Annotated

import pytest
from msgspec import Struct

from kdbench.catalog import LOSSES
from kdbench.commands import options
from kdbench.quantities import PARALLEL, Percent, Range, Weight, interval, ranges_of
from kdbench.spec.runs import Recipe


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("[0, 1]", (0, 0.5, 1), (-1e-9, 1 + 1e-9, float("nan"))),
        ("(0, 1)", (1e-9, 0.5), (0, 1)),
        ("[0, inf)", (0, 1e300, 10**400), (-1, float("inf"))),
        ("(-inf, inf)", (-1e300, 0), (float("nan"),)),
    ],
)
def test_interval_holds_what_lies_in_it(
    text: str, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert [value in interval(text) for value in inside] == [True] * len(inside)
    assert [value in interval(text) for value in outside] == [False] * len(outside)


@pytest.mark.parametrize("text", ["", "0, 1", "[0; 1]", "[0, 1, 2]", "[a, b]"])
def test_text_that_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"interval|float"):
        interval(text)


def test_ranges_stand_in_the_annotations_of_fields() -> None:
    class Numbers(Struct):
        plain: Percent
        bound: Annotated[Weight, Range("[0, 1)")] = 0.0
        optional: Annotated[Weight, Range("[0, 2]")] | None = None

    assert ranges_of(Numbers) == {"bound": Range("[0, 1)"), "optional": Range("[0, 2]")}


@pytest.mark.parametrize("name", LOSSES)
def test_parameters_of_a_loss_declare_what_they_may_be(name: str) -> None:
    assert isinstance(LOSSES[name].params, dict)
    for each in LOSSES[name].ranges.values():
        usual, valid = interval(each.usual or each.valid), interval(each.valid)
        assert valid.low <= usual.low < usual.high <= valid.high


def test_defaults_of_a_recipe_are_in_their_ranges() -> None:
    recipe = Recipe(epochs=1, batch_size=1, lr=0.1)
    for name, each in ranges_of(Recipe).items():
        assert each.mistake(name, getattr(recipe, name)) is None


def test_options_take_as_many_at_the_same_time_as_benchmark_toml() -> None:
    most = interval(PARALLEL.valid)
    assert (options.PARALLEL.min, options.PARALLEL.max) == (most.low, most.high)
