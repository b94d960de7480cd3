"""The short forms: the table of a README or of a CI job, the lines of `kdbench check`."""

from collections.abc import Collection, Iterator, Sequence

from tabulate import tabulate

from kdbench.formatting import EMPTY, clean, escape, number, plural, signed
from kdbench.report.content import Report
from kdbench.report.sentences import altered, gain_word, reasons, rows_by_setting, without_reference
from kdbench.report.words import measured, measured_gain, printed_gain
from kdbench.spec.verdicts import Check, Word
from kdbench.verdict.check import BAD, headline
from kdbench.verdict.published import published_headline

LIMIT = 1_000_000
"""Bytes. GitHub refuses the summary of a job of 1 MiB or more, the whole of it."""

_HEADS = ("row", "reference", "measured", "verdict", "gain", "measured gain", "verdict of the gain")
_ALIGN = ("left", "right", "right", "left", "right", "right", "left")


def summary(reports: Sequence[Report], *, rest: str = "", limit: int = LIMIT) -> str:
    """A Markdown table per suite: printed, measured and verdict, of the accuracy and the gain.

    Cut below the limit, in bytes: rows that are below, above, failed, blocked or unreadable are kept first.

    Args:
        reports: of the suites.
        rest: where the whole report is, an address; shown where rows had to be left out.
        limit: bytes.
    """
    every = [check for report in reports for check in report.checks]
    urgent = sorted(range(len(every)), key=lambda at: not _is_bad(every[at]))
    count = len(urgent)
    text = _tables(reports, range(count), rest)
    while count and (size := len(text.encode())) >= limit:
        count = min(count - 1, int(0.95 * count * limit / size))
        text = _tables(reports, set(urgent[:count]), rest)
    return text


def _is_bad(check: Check) -> bool:
    return check.top1.word in BAD or check.gain.word in BAD


def _tables(reports: Sequence[Report], kept: Collection[int], rest: str) -> str:
    """The tables with the rows of these places, counted over all suites."""
    texts, start = [], 0
    for report in reports:
        shown = [check for at, check in enumerate(report.checks, start) if at in kept]
        texts.append(_table(report, shown, rest))
        start += len(report.checks)
    return "\n".join(texts)


def _table(report: Report, shown: Sequence[Check], rest: str) -> str:
    suite, left = report.suite, len(report.checks) - len(shown)
    trial = f"**{escape(altered(report.altered))}** " if report.altered else ""
    parts = [f"{trial}{escape(suite.paper)}, {escape(suite.dataset)}: {headline(report.checks)}"]
    if report.is_bare:
        heads, body = rows_by_seed(shown)
        body = [list(map(escape, line)) for line in body]
        align = BY_SEED_ALIGN[: len(heads)]
        parts.append(tabulate(body, heads, tablefmt="pipe", colalign=align, disable_numparse=True))
    elif shown:
        names = rows_by_setting(report.checks)
        body = [_line(check, names[check.row.name]) for check in shown]
        parts.append(tabulate(body, _HEADS, tablefmt="pipe", colalign=_ALIGN, disable_numparse=True))
    if theirs := published_headline(report.checks):
        parts.append(escape(theirs))
    if left:
        where = f"see [the whole report]({rest})" if rest else "the whole report has them"
        parts.append(f"{plural(left, 'more row')}, left out to keep this short: {where}.")
    return "\n\n".join(parts) + "\n"


def _line(check: Check, name: str) -> list[str]:
    return [
        escape(name),
        number(check.top1.printed),
        measured(check.top1),
        check.top1.word,
        escape(printed_gain(check)),
        escape(measured_gain(check)),
        gain_word(check),
    ]


def lines(checks: Sequence[Check]) -> list[str]:
    """What a terminal shows: a plain table, the reasons that matter, the headline."""
    if checks and all(check.top1.printed is check.gain.printed is None for check in checks):
        return _bare_lines(without_reference(checks))
    heads = ["row", "printed", "measured", "difference", "verdict", "gain", "verdict of the gain"]
    names = rows_by_setting(checks)
    body = [
        [
            clean(names[check.row.name]),
            number(check.top1.printed),
            measured(check.top1),
            signed(check.top1.difference),
            check.top1.word,
            clean(measured_gain(check)),
            gain_word(check),
        ]
        for check in checks
    ]
    right = ("left", "right", "right", "right", "left", "right", "left")
    table = tabulate(body, heads, tablefmt="simple", colalign=right, disable_numparse=True)
    return [*table.splitlines(), *_below(checks)]


def _bare_lines(checks: Sequence[Check]) -> list[str]:
    """The lines of rows of which nothing is printed: what was measured, and nothing that is empty."""
    heads, body = rows_by_seed(checks)
    align = BY_SEED_ALIGN[: len(heads)]
    body = [list(map(clean, line)) for line in body]
    table = tabulate(body, heads, tablefmt="simple", colalign=align, disable_numparse=True)
    return [*table.splitlines(), *_below(checks)]


def _below(checks: Sequence[Check]) -> list[str]:
    """What stands below the table: the reasons that matter, the headline."""
    told = list(_grouped(checks))
    return ["", *told, *([""] if told else []), headline(checks)]


BY_SEED_ALIGN = ("left", "right", "right", "right", "left")


def rows_by_seed(checks: Sequence[Check]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of rows of which nothing is printed; verdicts only where one is more than that."""
    heads = ["row", "measured", "of each seed", "gain"]
    names = rows_by_setting(checks)
    worded = any(check.top1.word is not Word.NO_REFERENCE for check in checks)
    lines = []
    for check in checks:
        seeds = ", ".join(number(value) for _, value in sorted(check.values.items()))
        line = [names[check.row.name], measured(check.top1), seeds or EMPTY, measured_gain(check)]
        lines.append([*line, *([check.top1.word] if worded else [])])
    return [*heads, *(["verdict"] if worded else [])], lines


def _grouped(checks: Sequence[Check]) -> Iterator[str]:
    """Each reason once, after the first row that gives it."""
    said: dict[str, list[str]] = {}
    for check in checks:
        for text in reasons(check):
            said.setdefault(text, []).append(check.row.name)
    for text, rows in said.items():
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        yield clean(f"{rows[0]}{more}: {text}")
