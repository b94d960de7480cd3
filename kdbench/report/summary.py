"""The short forms: the table of a README or of a CI job, the lines of `kdbench check`."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from kdbench.errors import UserError
from kdbench.formatting import EMPTY, and_more, clean, escape, number, plural, signed, table
from kdbench.grouping import grouped
from kdbench.report.content import Report, against, is_bare
from kdbench.report.sentences import (
    BARE_LEGEND,
    altered,
    reasons,
    rows_by_setting,
    without_reference,
)
from kdbench.report.words import gain_word, measured, measured_gain, printed_gain
from kdbench.spec.verdicts import Check, Word
from kdbench.verdict.check import BAD, headline
from kdbench.verdict.published import published_headline

LIMIT = 1_000_000
"""Bytes. GitHub refuses the summary of a job of 1 MiB or more, the whole of it."""

BEGIN, END = "<!-- kdbench: begin -->", "<!-- kdbench: end -->"
"""Of a summary inside another text."""
_BETWEEN = re.compile(f"{re.escape(BEGIN)}(\r?\n).*?{re.escape(END)}", re.DOTALL)

_HEADS = ("row", "reference", "measured", "verdict", "gain", "measured gain", "verdict of the gain")


def summary(reports: Sequence[Report], *, rest: str = "", limit: int = LIMIT) -> str:
    """A Markdown table per suite: printed, measured and verdict, of the accuracy and the gain.

    Cut below the limit, in bytes: rows that are below, above, failed, blocked or unreadable are kept first.

    Args:
        reports: of the suites.
        rest: where the whole report is, an address; shown where rows had to be left out.
        limit: bytes.
    """
    every = [check for report in reports for check in report.checks]
    # By place and not by row: the tables keep their order whichever rows are left out.
    urgent = sorted(range(len(every)), key=lambda at: not _is_bad(every[at]))
    count = len(urgent)
    text = _tables(reports, range(count), rest)
    # How many rows fit is guessed by their mean length, 5 % low, and tried again until the text is short.
    while count and (size := len(text.encode())) >= limit:
        count = min(count - 1, int(0.95 * count * limit / size))
        text = _tables(reports, set(urgent[:count]), rest)
    return text


def put_between(text: str, summary: str, where: str) -> str:
    """The text with the summary in place of what stood between its markers, in lines that end as theirs.

    Raises:
        UserError: the text has no markers, or several pairs.
    """
    found = (text.count(BEGIN), text.count(END))
    if found != (1, 1) or not _BETWEEN.search(text):
        raise UserError(
            f"{where}: has {found[0]} lines {BEGIN} and {found[1]} lines {END}; it must have one of each, in "
            f"this order"
        )
    return _BETWEEN.sub(lambda there: f"{BEGIN}\n{summary}{END}".replace("\n", there[1]), text)


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
        parts.append(by_seed("pipe", shown))
    elif shown:
        names, body = rows_by_setting(report.checks), []
        for check in shown:
            top1 = check.top1
            accuracy = (number(top1.printed), measured(top1), top1.word)
            gain = (printed_gain(check), measured_gain(check), gain_word(check))
            body.append((names[check.row.name], *accuracy, *gain))
        parts.append(table("pipe", _HEADS, body, "lrrlrrl"))
    if theirs := published_headline(report.checks):
        parts.append(escape(theirs))
    if left:
        where = f"see [the whole report]({rest})" if rest else "the whole report has them"
        parts.append(f"{plural(left, 'more row')}, left out to keep this short: {where}.")
    return "\n\n".join(parts) + "\n"


def lines(checks: Sequence[Check]) -> list[str]:
    """What a terminal shows: a plain table, the reasons that matter, the headline.

    Of rows of which nothing is printed: what was measured, and no column that would be empty.
    """
    if checks and is_bare(checks):
        checks = without_reference(checks)
        shown = f"{by_seed('simple', checks)}\n\n{BARE_LEGEND}"
    else:
        heads = ("row", against(checks), "measured", "difference", "verdict", "gain", "verdict of the gain")
        names, body = rows_by_setting(checks), []
        for check in checks:
            top1 = check.top1
            figures = (number(top1.printed), measured(top1), signed(top1.difference), top1.word)
            body.append((names[check.row.name], *figures, measured_gain(check), gain_word(check)))
        shown = table("simple", heads, body, "lrrrlrl")
    noted = list(_grouped(checks))
    return [*shown.splitlines(), "", *noted, *([""] if noted else []), headline(checks)]


def by_seed(kind: Literal["pipe", "simple"], checks: Sequence[Check]) -> str:
    """The table of rows of which nothing is printed; verdicts only where one is more than that."""
    heads = ["row", "measured", "of each seed", "gain"]
    names = rows_by_setting(checks)
    worded = any(check.top1.word is not Word.NO_REFERENCE for check in checks)
    lines = []
    for check in checks:
        seeds = ", ".join(number(value) for _, value in sorted(check.values.items()))
        line = [names[check.row.name], measured(check.top1), seeds or EMPTY, measured_gain(check)]
        lines.append([*line, *([check.top1.word] if worded else [])])
    heads += ["verdict"] if worded else []
    return table(kind, heads, lines, "lrrrl"[: len(heads)])


def _grouped(checks: Sequence[Check]) -> Iterator[str]:
    """Each reason once, after the first row that gives it."""
    by_reason = grouped((text, check.row.name) for check in checks for text in reasons(check))
    for text, rows in by_reason.items():
        yield clean(f"{and_more(rows)}: {text}")
