"""Rows beside the controls that know nothing: a section of the report, lines of a terminal."""

from collections.abc import Iterator, Sequence

from kdbench.formatting import EMPTY, plus_minus, signed, table
from kdbench.report.sections import table_section
from kdbench.report.words import setting
from kdbench.verdict.controls import Controlled

_NAMES = ("ce", "lsr", "uniform", "untrained")
HEADS = ("row", *(f"over {name}" for name in _NAMES), "best control", "gain over it", "the teacher matters")
_SIDES = "lrrrrlrl"

LEGEND = """\
What each row gains over controls without a teacher's knowledge, in percentage points, paired by seed: plain
cross-entropy and label smoothing with gradients of the row's size, the row's loss with uniform targets, and
with an untrained teacher. That the teacher matters `holds` where the row beats each of them at 5 %."""


def controls_section(found: Sequence[Controlled]) -> Iterator[str]:
    """The report's section, nothing without controls."""
    notes = (*damage(found), *_losses(found))
    return table_section("Controls", LEGEND, HEADS, map(line, found), _SIDES, notes)


def control_lines(found: Sequence[Controlled]) -> list[str]:
    """For a terminal; nothing without controls."""
    if not found:
        return []
    return [*table("simple", HEADS, map(line, found), _SIDES).splitlines(), *damage(found)]


def line(found: Controlled) -> list[str]:
    """A row of the table, under `HEADS`; a control that it has not is a dash."""
    gains = {control.name: signed(control.gain) + plus_minus(control.interval) for control in found.controls}
    cells = [gains.get(name, EMPTY) for name in _NAMES]
    gain = signed(found.gain) + plus_minus(found.interval)
    return [found.row, *cells, found.best or EMPTY, gain, found.outcome]


def damage(found: Sequence[Controlled]) -> Iterator[str]:
    """The results that could not be read, each with its row."""
    for each in found:
        yield from (f"{each.row}: {problem}" for problem in each.damage)


def _losses(found: Sequence[Controlled]) -> Iterator[str]:
    """The losses that were matched, each with its rows."""
    for each in found:
        matched = [setting(control.loss) for control in each.controls if control.name in ("ce", "lsr")]
        yield f"{each.row}: {'; '.join(matched)}"
