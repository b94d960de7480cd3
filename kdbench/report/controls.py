"""Rows beside the controls that know nothing: a section of the report, lines of a terminal."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from kdbench.formatting import EMPTY, escape, escape_table, signed
from kdbench.report.words import setting
from kdbench.verdict.controls import Controlled

HEADS = (
    "row",
    "over ce",
    "over lsr",
    "over uniform",
    "over untrained",
    "best control",
    "gain over it",
    "the teacher matters",
)
_ALIGN = ("left", "right", "right", "right", "right", "left", "right", "left")
_NAMES = ("ce", "lsr", "uniform", "untrained")

LEGEND = """\
What each row gains over controls without a teacher's knowledge, in percentage points, paired by seed: plain
cross-entropy and label smoothing with gradients of the row's size, the row's loss with uniform targets, and
with an untrained teacher. That the teacher matters `holds` where the row beats each of them at 5 %."""


def controls_section(found: Sequence[Controlled]) -> Iterator[str]:
    """The report's section, nothing without controls."""
    if found:
        yield "## Controls"
        yield LEGEND
        cells = escape_table(body(found))
        yield tabulate(cells, HEADS, tablefmt="pipe", colalign=_ALIGN, disable_numparse=True)
        yield "\n".join(f"- {escape(line)}" for line in (*damage(found), *_losses(found)))


def control_lines(found: Sequence[Controlled]) -> list[str]:
    """For a terminal; nothing without controls."""
    if not found:
        return []
    table = tabulate(body(found), HEADS, tablefmt="simple", colalign=_ALIGN, disable_numparse=True)
    return [*str(table).splitlines(), *damage(found)]


def body(found: Sequence[Controlled]) -> list[list[str]]:
    """A line for each row, under `HEADS`."""
    return [_line(each) for each in found]


def _line(found: Controlled) -> list[str]:
    by_name = {control.name: control for control in found.controls}
    there = [by_name.get(name) for name in _NAMES]
    cells = [EMPTY if control is None else _gain(control.gain, control.interval) for control in there]
    return [found.row, *cells, found.best or EMPTY, _gain(found.gain, found.interval), found.outcome]


def _gain(value: float | None, interval: tuple[float, float] | None) -> str:
    around = "" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.2f}"
    return signed(value) + around


def damage(found: Sequence[Controlled]) -> Iterator[str]:
    """The results that could not be read, each with its row."""
    for each in found:
        yield from (f"{each.row}: {problem}" for problem in each.damage)


def _losses(found: Sequence[Controlled]) -> Iterator[str]:
    """The losses that were matched, each with its rows."""
    for each in found:
        matched = [setting(control.loss) for control in each.controls if control.name in ("ce", "lsr")]
        yield f"{each.row}: {'; '.join(matched)}"
