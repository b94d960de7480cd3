"""How numbers and names are written: two decimals, a sign on every difference, nothing unescaped."""

import re

from kdbench.spec import Loss, Row, Verdict
from kdbench.stats import Spread, half_width

EMPTY = "-"
"""What stands where there is no number."""

_SPECIAL = re.compile(r"([\\`*\[\]<>|~$&#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_LONE = re.compile("[\ud800-\udfff]")


def clean(text: object) -> str:
    """Text on one line, of characters that can be seen: what any format may hold, once it has escaped it.

    Colours of a terminal go, and so do control characters (most of which XML forbids) and those that
    turn the direction of writing. Half a surrogate pair, which no file can hold, becomes U+FFFD.
    """
    seen = _UNSEEN.sub("", _TERMINAL.sub("", str(text)))
    return _LONE.sub("\ufffd", " ".join(seen.split()))


def escape(text: object) -> str:
    """Plain text as Markdown that shows exactly it, on one line and inside a table."""
    return _SPECIAL.sub(r"\\\1", clean(text))


def number(value: float | None) -> str:
    """`76.32`, in percent or percentage points."""
    return EMPTY if value is None else f"{value:z.2f}"


def signed(value: float | None) -> str:
    """`+0.12`, `-0.30`: a difference or a gain, in percentage points."""
    return EMPTY if value is None else f"{value:+z.2f}"


def measured(verdict: Verdict, *, sign: bool = False) -> str:
    """`75.98 ± 0.18 (5)`: the mean, half the 90 % interval of its difference, the number of seeds."""
    if verdict.measured is None:
        return EMPTY
    half = half_interval(verdict)
    around = "" if half is None else f" ± {half:.2f}"
    return f"{signed(verdict.measured) if sign else number(verdict.measured)}{around} ({verdict.n})"


def half_interval(verdict: Verdict) -> float | None:
    """Half the 90 % interval that the verdict uses; without a printed number, that of the mean."""
    if verdict.interval is not None:
        low, high = verdict.interval
        return (high - low) / 2
    if verdict.std is None or verdict.n < 2:
        return None
    return half_width(Spread(verdict.std, verdict.n))


def printed(row: Row) -> str:
    """`71.05 ± 0.16 (3)`: the printed accuracy with its std and number of runs, as far as printed."""
    reference = row.reference
    std = "" if reference.std is None else f" ± {reference.std:.2f}"
    runs = "" if reference.n is None else f" ({reference.n})"
    return number(reference.top1) + (std + runs if reference.top1 is not None else "")


def setting(loss: Loss) -> str:
    """`kd (alpha 0.95, tau 20)`."""
    params = ", ".join(f"{name} {value:g}" for name, value in loss.params.items())
    return f"{loss.name} ({params})" if params else loss.name


def plural(count: int, one: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"
