"""Parameters of a test of which some are slow."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(fast: Collection[str], names: Iterable[str]) -> list[Any]:
    """These names as parameters, of which only the few of `fast` are of the fast tests."""
    return [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in names]
