"""Things by what they have in common, in the order in which they come."""

from collections.abc import Iterable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The values of each key, keys in the order of their first values.

    `grouped([("a", 1), ("b", 2), ("a", 3)])` is `{"a": [1, 3], "b": [2]}`.
    """
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def halves(items: tuple[V, ...]) -> list[tuple[V, ...]]:
    """`(1, 2, 3)` as `[(1, 2), (3,)]`; of two or more."""
    middle = (len(items) + 1) // 2
    return [items[:middle], items[middle:]]
