"""The nouns of claims: what a paper concludes from its numbers, as data, and what comes of it."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Globs = tuple[str, ...]
"""Rows: the id of a table, or a glob over row names."""


class Claim(Struct, frozen=True, kw_only=True):
    """What the paper concludes from several rows; one of `order`, `alike` and `improves` says from which.

    Rows are compared where the student is the same.
    """

    id: str
    says: str
    """The conclusion, in a sentence."""
    section: str
    """Where the paper draws it."""
    order: Globs = ()
    """From the worst to the best: each is better than the one before, for every student they share."""
    alike: Globs = ()
    """Two that differ by less than the margin, for every student they share."""
    improves: Globs = ()
    """Rows, each better than its student's baseline."""
    margin: Annotated[float, Meta(ge=0)] = 0.0
    """Percentage points: better by more than this, or alike within it."""
    note: str = ""


class Outcome(StrEnum):
    """What comes of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"


class Part(Struct, frozen=True, kw_only=True):
    """One comparison of a claim: a row and what it is compared with, in paired differences."""

    row: str
    than: str
    """The other row, or `baseline`."""
    printed: float | None = None
    """The difference of the printed numbers, in points."""
    measured: float | None = None
    """The mean of the differences over the seeds that both have."""
    interval: tuple[float, float] | None = None
    """90 % confidence interval of the difference; None for fewer than two shared seeds."""
    n: int = 0
    p_for: float | None = None
    """The p-value of the test that this part of the claim is true."""
    p_against: float | None = None
    """The p-value of the test that it is not."""


class ClaimCheck(Struct, frozen=True, kw_only=True):
    """A claim held against results."""

    claim: Claim
    outcome: Outcome
    parts: tuple[Part, ...]
    test: str
    """The test, in words."""
    p_for: float | None = None
    """The largest of the parts': the claim holds where it is at most 5 %."""
    p_against: float | None = None
    """The smallest of the parts', times their number: it does not hold where it is at most 5 %."""
    printed: bool | None = None
    """Whether the printed numbers bear it out; None where not all are printed."""
    reason: str = ""
    """What is missing, or which comparison decided."""
