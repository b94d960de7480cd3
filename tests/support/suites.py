"""The suites of this repository and its committed results, read once for all tests."""

from functools import cache

from kdbench.plan.expand import expand
from kdbench.spec.suites import Cell, Suite, Variant
from kdbench.store.records import Index, index
from kdbench.suite.load import load_suite
from tests.support.places import ROOT, SUITES


@cache
def shipped(name: str) -> Suite:
    """A suite by its name."""
    return load_suite(SUITES / f"{name}.toml")


@cache
def first_cells(name: str, variant: Variant) -> tuple[Cell, ...]:
    """Every row of a suite, with the run of its first seed."""
    return expand(shipped(name), variant=variant, seeds=[0])


def every_suite() -> tuple[Suite, ...]:
    """All of them, by name."""
    return tuple(shipped(path.stem) for path in sorted(SUITES.glob("*.toml")))


def every_cell(variant: Variant) -> tuple[Cell, ...]:
    """Every row of every suite, with the run of its first seed."""
    return tuple(cell for suite in every_suite() for cell in first_cells(suite.name, variant))


@cache
def committed() -> Index:
    """The results that are in git."""
    return index(ROOT / "results")
