"""Parameters of a test of which some are slow."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(fast: Collection[object], values: Iterable[object]) -> list[Any]:
    """These values as parameters, of which only the few of `fast` are of the fast tests."""
    return [pytest.param(value, marks=() if value in fast else pytest.mark.slow) for value in values]
