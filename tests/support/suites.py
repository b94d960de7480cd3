"""The suites of this repository, read once for all tests."""

from functools import cache

from kdbench.plan.expand import expand
from kdbench.spec.suites import Cell, Suite, Variant
from kdbench.suite.load import load_suite
from tests.support.places import SUITES


@cache
def every_suite() -> tuple[Suite, ...]:
    """All of them, by name."""
    return tuple(load_suite(path) for path in sorted(SUITES.glob("*.toml")))


@cache
def every_cell(variant: Variant) -> tuple[Cell, ...]:
    """Every row of every suite, with the run of its first seed."""
    return tuple(cell for suite in every_suite() for cell in expand(suite, variant=variant, seeds=[0]))
