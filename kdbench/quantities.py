"""Numbers with a range, as suites, profiles, benchmark.toml and records hold them.

Two kinds of bounds. `Meta` says what any record may hold, stored results of long ago too. `Range` says which
values a person can mean: the loader of suites refuses others, and lint names unusual ones. A `Range` stands
where its number is declared: in the annotation of a field, or at a loss's parameter in the catalog.
"""

import re
from functools import cache
from typing import Annotated, NamedTuple, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(gt=0)]
Weight = Annotated[float, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Line = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*\Z", max_length=4096)]
"""Text that may come from a stranger's file and is shown on a terminal: nothing in it moves the cursor."""


class Range(Struct, frozen=True):
    """Which values of a number can be meant, as intervals are written: `[0, 1)` is 0 <= x < 1."""

    valid: str
    usual: str = ""
    """Values outside are possible and odd ("": none is)."""
    why: str = ""
    """What a value outside would be, in a few words."""

    def __post_init__(self) -> None:
        """Refuse what is no interval where it is written, not where a value is first held against it.

        Raises:
            ValueError: `valid`, or `usual`, is none.
        """
        interval(self.valid)
        if self.usual:
            interval(self.usual)

    def mistake(self, name: str, value: object) -> str | None:
        """The sentence on a value that cannot be meant; None of one that can, and of what is no number."""
        if not _is_number(value) or value in interval(self.valid):
            return None
        return f"{name} = {value!r:.40}: must be in {self.valid}" + (f"; {self.why}" if self.why else "")

    def oddity(self, name: str, value: object) -> str | None:
        """The sentence on a value that is possible and unusual; None of any other."""
        if not self.usual or not _is_number(value) or value in interval(self.usual):
            return None
        return f"{name} = {value!r:.40} is unusual: most are in {self.usual}"


class Interval(NamedTuple):
    """An interval of numbers; `x in interval` asks whether it holds x."""

    low: float
    high: float
    with_low: bool
    with_high: bool

    def __contains__(self, value: object) -> bool:
        above = value >= self.low if self.with_low else value > self.low  # type: ignore[operator]
        below = value <= self.high if self.with_high else value < self.high  # type: ignore[operator]
        return bool(above and below)


@cache
def ranges_of(kind: type[Struct]) -> dict[str, Range]:
    """The ranges of a struct's fields, by name, of those that declare one."""
    found: dict[str, Range] = {}
    for info in fields(kind):
        for part in (info.type, *get_args(info.type)):  # an optional number is `Annotated[...] | None`
            metadata = get_args(part)[1:] if get_origin(part) is Annotated else ()
            declared = [each for each in metadata if isinstance(each, Range)]
            if declared:
                found[info.name] = declared[0]
    return found


@cache
def interval(text: str) -> Interval:
    """The interval that a text is: `(0, 1]`, `[0, inf)`.

    Raises:
        ValueError: it is none.
    """
    parts = re.fullmatch(r"([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])", text)
    if parts is None:
        raise ValueError(f"{text!r} is no interval such as [0, 1)")
    return Interval(float(parts[2]), float(parts[3]), parts[1] == "[", parts[4] == "]")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


ANY = Range("(-inf, inf)")
FRACTION = Range("[0, 1]", why="it is a share, not a percentage")
TEMPERATURE = Range("[0.001, 10000]", usual="[0.1, 100]", why="logits are divided by it")
PARALLEL = Range("[1, 512]", why="so many processes and threads of kdbench's own would halt a machine")
FACTOR = Range("[0, 1e6]", usual="[0, 1000]", why="it multiplies a part of the loss")

Parallel = Annotated[Positive, PARALLEL]
"""How many of something work at the same time on one machine."""
