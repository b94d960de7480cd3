"""The feed of changes, in Atom (RFC 4287): an entry for each day on which runs of a suite were trained.

An entry is made of that day's results alone, so that it stays as it is when others come after it.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import escape, quoteattr

from msgspec import Struct

from kdbench.formatting import clean, number, plural
from kdbench.report.ages import trained
from kdbench.report.content import Report
from kdbench.spec.verdicts import Check
from kdbench.verdict.stats import mean

MOST_ENTRIES, MOST_ROWS = 200, 20
EPOCH = "1970-01-01T00:00:00+00:00"
"""When a feed without entries was updated."""


class Change(Struct, frozen=True, kw_only=True):
    """What was trained of a suite on one day."""

    suite: str
    day: str
    updated: str
    """When the last of the runs finished, as RFC 3339 writes it."""
    title: str
    text: str
    href: str


def entries(reports: Sequence[Report], folders: Sequence[str]) -> list[Change]:
    """The changes of all suites, the latest first.

    Args:
        reports: of the suites.
        folders: of their pages, one each.
    """
    found = [
        change for report, folder in zip(reports, folders, strict=True) for change in _days(report, folder)
    ]
    return sorted(found, key=lambda each: (each.updated, each.suite), reverse=True)[:MOST_ENTRIES]


def _days(report: Report, folder: str) -> list[Change]:
    by_day: defaultdict[str, set[str]] = defaultdict(set)
    for of in dict.fromkeys(of for check in report.checks for of in check.ids if of in report.results):
        if day := trained(report.results[of]):
            by_day[day].add(of)
    return [_change(report, folder, day, ids) for day, ids in by_day.items()]


def _change(report: Report, folder: str, day: str, ids: set[str]) -> Change:
    suite = report.suite
    rows = [check for check in report.checks if ids.intersection(check.ids)]
    lines = [_line(report, check, ids) for check in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines.append(f"and {plural(len(rows) - MOST_ROWS, 'more row')}")
    return Change(
        suite=suite.name,
        day=day,
        updated=max(str(report.results[of].environment.get("finished")) for of in ids),
        title=f"{suite.name}: {plural(len(ids), 'run')} of {plural(len(rows), 'row')}, {day}",
        text="\n".join([suite.paper, *lines]),
        href=f"{folder}/index.html",
    )


def _line(report: Report, check: Check, ids: set[str]) -> str:
    """`1.kd/cnn: 71.20 (3 runs)`: the mean of the day's runs at their last epochs."""
    last = [report.results[of].last for of in check.ids if of in ids]
    return f"{check.row.name}: {number(mean(last))} ({plural(len(last), 'run')})"


def atom(changes: Sequence[Change]) -> str:
    """The feed, with addresses relative to where it lies."""
    updated = changes[0].updated if changes else EPOCH
    return "\n".join(
        [
            '<?xml version="1.0" encoding="utf-8"?>',
            '<feed xmlns="http://www.w3.org/2005/Atom">',
            f"<id>urn:uuid:{uuid5(NAMESPACE_URL, 'kdbench/feed')}</id>",
            "<title>kdbench: what was trained</title>",
            f"<updated>{escape(updated)}</updated>",
            "<author><name>kdbench</name></author>",
            '<link rel="self" href="feed.xml"/>',
            '<link href="index.html"/>',
            *map(_entry, changes),
            "</feed>\n",
        ]
    )


def _entry(change: Change) -> str:
    # The name is that of suite and day: a reader that has the entry knows it again when its text changes.
    name = uuid5(NAMESPACE_URL, f"kdbench/{change.suite}/{change.day}")
    text = "\n".join(map(clean, change.text.splitlines()))
    return (
        f"<entry><id>urn:uuid:{name}</id><title>{escape(clean(change.title))}</title>"
        f"<updated>{escape(change.updated)}</updated><link href={quoteattr(change.href)}/>"
        f'<content type="text">{escape(text)}</content></entry>'
    )
