"""Where the marks of a forest plot lie: a strip per row, measured minus printed, a table to one scale."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from kdbench.formatting import signed
from kdbench.spec.verdicts import Check, Verdict

WIDTH, HEIGHT = 200.0, 26.0
"""Of a strip, in the units of its drawing."""
_EDGE = 6.0
"""Units kept free at both ends, so that a mark at the limit is drawn whole."""
_MOST_MARGINS = 5.0
"""The scale ends at so many margins: one row that is far off must not press all others together."""

What = Literal["accuracy", "gain"]
Side = Literal["left", "right", ""]


class Mark(Struct, frozen=True, kw_only=True):
    """One quantity of a row, as it is drawn; all places are units from the left."""

    what: What
    word: str
    y: float
    band: tuple[float, float]
    """The tolerance."""
    x: float
    """The mean of the seeds."""
    line: tuple[float, float] | None
    """Its confidence interval; None for a single seed."""
    beyond: Side
    """The end of the scale that the mean lies outside of, if it does."""


class Strip(Struct, frozen=True):
    """The marks of a row, and what they show in words."""

    marks: tuple[Mark, ...]
    text: str


class Scale(Struct, frozen=True):
    """From -limit to +limit percentage points."""

    limit: float

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Place and label of the ends' ticks, and of the middle's, whose label is empty: no difference."""
        step = max(size for size in _NICE if size <= self.limit or size == _NICE[0])
        return [(self.place(at), f"{at:+g}" if at else "") for at in (-step, 0.0, step)]

    def place(self, points: float) -> float:
        """Where a difference is drawn, in units; what lies outside is drawn at the end."""
        share = max(-1.0, min(1.0, points / self.limit))
        return round(WIDTH / 2 + share * (WIDTH / 2 - _EDGE), 1)


_NICE = [size * 10.0**power for power in (-2, -1, 0, 1) for size in (1, 2, 5)]


def scale_of(checks: Iterable[Check]) -> Scale:
    """A scale that holds the margins of all rows and what was measured, unless that is very far off."""
    # The widest margin is drawn whole with a quarter more; what was measured stretches the scale only so far.
    found = [each for check in checks for each in _quantities(check)]
    margins = max((margin for _, _, margin in found), default=1.0)
    reach = max((max(map(abs, _ends(verdict))) for _, verdict, _ in found), default=0.0)
    return Scale(max(margins * 1.25, min(reach, margins * _MOST_MARGINS)))


def strip_of(check: Check, scale: Scale) -> Strip:
    """The marks of a row: its accuracy above, its gain below."""
    found = _quantities(check)
    heights = (HEIGHT / 2,) if len(found) == 1 else (HEIGHT / 4, 3 * HEIGHT / 4)
    marks = tuple(_mark(*each, y, scale) for each, y in zip(found, heights, strict=False))
    return Strip(marks, "; ".join(_in_words(*each) for each in found))


def _quantities(check: Check) -> list[tuple[What, Verdict, float]]:
    """What a row has to be drawn, each with its tolerance."""
    margins = check.row.tolerance
    both: list[tuple[What, Verdict, float]] = [
        ("accuracy", check.top1, margins.top1),
        ("gain", check.gain, margins.gain),
    ]
    return [each for each in both if each[1].difference is not None]


def _ends(verdict: Verdict) -> tuple[float, float]:
    difference = verdict.difference or 0.0
    return verdict.interval or (difference, difference)


def _mark(what: What, verdict: Verdict, margin: float, y: float, scale: Scale) -> Mark:
    difference = verdict.difference or 0.0
    low, high = map(scale.place, _ends(verdict))
    beyond: Side = ""
    if abs(difference) > scale.limit:
        beyond = "left" if difference < 0 else "right"
    return Mark(
        what=what,
        word=verdict.word,
        y=y,
        band=(scale.place(-margin), scale.place(margin)),
        x=scale.place(difference),
        line=(low, high) if verdict.interval else None,
        beyond=beyond,
    )


def _in_words(what: What, verdict: Verdict, margin: float) -> str:
    low, high = _ends(verdict)
    share = f"{100 - 200 * verdict.level:.3g} %"
    within = f", {share} interval {signed(low)} to {signed(high)}" if verdict.interval else ""
    return f"{what} differs by {signed(verdict.difference)}{within}, tolerance {margin:g}"
