"""The short forms: the table of the README, the lines of `kdbench check`."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from kdbench.check import headline
from kdbench.report.words import EMPTY, escape, measured, number, signed
from kdbench.spec import Check, Suite


def summary(suite: Suite, checks: Sequence[Check]) -> str:
    """One Markdown table, a row per row: printed, measured and verdict, of the accuracy and the gain."""
    heads = ["row", "reference", "measured", "verdict", "gain", "measured gain", "verdict of the gain"]
    body = [
        [
            escape(check.row.name),
            number(check.top1.printed),
            measured(check.top1),
            check.top1.word,
            signed(check.gain.printed),
            measured(check.gain, sign=True),
            gain_word(check),
        ]
        for check in checks
    ]
    right = ("left", "right", "right", "left", "right", "right", "left")
    table = tabulate(body, heads, tablefmt="pipe", colalign=right, disable_numparse=True)
    return f"{escape(suite.paper)}, {escape(suite.dataset)}: {headline(checks)}\n\n{table}\n"


def lines(checks: Sequence[Check]) -> list[str]:
    """What a terminal shows: a plain table, the reasons that matter, the headline."""
    heads = ["row", "printed", "measured", "off", "verdict", "gain", "verdict of the gain"]
    body = [
        [
            check.row.name,
            number(check.top1.printed),
            measured(check.top1),
            signed(check.top1.off),
            check.top1.word,
            measured(check.gain, sign=True),
            gain_word(check),
        ]
        for check in checks
    ]
    right = ("left", "right", "right", "right", "left", "right", "left")
    table = tabulate(body, heads, tablefmt="simple", colalign=right, disable_numparse=True)
    reasons = list(_grouped(checks))
    return [*table.splitlines(), "", *reasons, *([""] if reasons else []), headline(checks)]


def _grouped(checks: Sequence[Check]) -> Iterator[str]:
    """Each reason once, after the first row that gives it."""
    said: dict[str, list[str]] = {}
    for check in checks:
        for text in reasons_of(check):
            said.setdefault(text, []).append(check.row.name)
    for text, rows in said.items():
        yield f"{rows[0]}{f' and {len(rows) - 1} more' if len(rows) > 1 else ''}: {text}"


def reasons_of(check: Check) -> list[str]:
    """What both verdicts say in words; the gain's only where it says something else."""
    top1, gain = check.top1.reason, check.gain.reason
    if gain in {"", top1} or check.gain.printed is None:
        return [top1] if top1 else []
    return [text for text in (top1, f"gain: {gain}") if text]


def gain_word(check: Check) -> str:
    """The verdict of the gain; nothing for a baseline, which has none to print or to measure."""
    return EMPTY if check.gain.printed is None and check.gain.measured is None else check.gain.word
