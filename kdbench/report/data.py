"""The report for programs: everything as JSON, a line per row as CSV."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

import msgspec

from kdbench.formatting import clean
from kdbench.report.content import Report
from kdbench.report.sentences import altered, notes
from kdbench.report.words import setting
from kdbench.spec.recipes import shown
from kdbench.spec.verdicts import Check, Published, Verdict
from kdbench.verdict.check import headline
from kdbench.verdict.claims import check_claims
from kdbench.verdict.published import last_or_best, of_authors, published_headline
from kdbench.version import __version__

SCHEMA = 1
"""Of the JSON: raised when a key goes or changes its meaning; docs/reports.md has them."""
_ROW = ("suite", "data set", "variant", "table", "row", "student", "teacher", "loss", "report epoch")
_VERDICT = (
    *("verdict", "printed", "measured", "std", "n"),
    *("difference", "low", "high", "tolerance", "within", "p"),
)
_OTHER = ("evidence", "n", "measured", "difference", "verdict", "last", "best", "epochs")
COLUMNS = (
    *_ROW,
    *(f"{quantity} {name}" for quantity in ("top1", "gain") for name in _VERDICT),
    *("printed std", "printed n", "optimism", "trial", "gain over", "recipe", "runs"),
    *("top1 by seed", "gain by seed", "notes"),
    *(f"other {name}" for name in _OTHER),
)


_SUITE = ("name", "path", "paper", "arxiv", "code", "dataset", "teacher_seed")


def as_json(reports: Sequence[Report]) -> str:
    """The content of a report, and where the records are; a check, a record and the like on one line each."""
    whole = {"kdbench": __version__, "schema": SCHEMA, "reports": [_content(report) for report in reports]}
    return "".join(_by_line(whole, "\n", 4)) + "\n"


def _by_line(value: object, end: str, levels: int) -> Iterator[str]:
    """JSON whose outer levels have an item on each line, indented: of 10,000 rows half were spaces.

    With 1 level, {"a": [1, {"b": 2}], "c": 3} is the lines `{`, ` "a": [1,{"b":2}],`, ` "c": 3` and `}`.

    Args:
        value: what msgspec encodes.
        end: of the lines of the level around it: a line break, and its indent.
        levels: how many are spread over lines.
    """
    if levels == 0 or not value or not isinstance(value, dict | list | tuple):
        yield msgspec.json.encode(value).decode()
        return
    inner = f"{end} "
    first, last = "{}" if isinstance(value, dict) else "[]"
    yield first
    for number, item in enumerate(value):
        yield f",{inner}" if number else inner
        if isinstance(value, dict):
            yield f"{msgspec.json.encode(item).decode()}: "
        yield from _by_line(value[item] if isinstance(value, dict) else item, inner, levels - 1)
    yield f"{end}{last}"


def _content(report: Report) -> dict[str, Any]:
    """All that a report knows, for programs."""
    suite = report.suite
    return {
        "suite": {name: getattr(suite, name) for name in _SUITE},
        "trial": altered(report.altered),
        "variant": report.variant,
        "headline": headline(report.checks),
        "author_headline": published_headline(report.checks),
        "last_or_best": last_or_best(report.checks),
        "checks": report.checks,
        "deltas": suite.deltas if report.variant == "released" else (),
        "findings": report.findings,
        "claims": report.claims,
        "author_claims": check_claims(suite, of_authors(report.checks)),
        "controls": report.controls,
        "audit": report.audit,
        "environment": report.environment,
        "records": report.records,
        "command": report.command.splitlines(),
    }


def as_csv(reports: Sequence[Report]) -> str:
    """A line per row, after RFC 4180: numbers have four decimals at most, and no cell holds a line break."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for report in reports:
        fields = report.recipe_fields
        writer.writerows(list(_line(report, check, fields)) for check in report.checks)
    return text.getvalue()


def _line(report: Report, check: Check, fields: Sequence[str]) -> Iterator[object]:
    row, suite = check.row, report.suite
    names = (suite.name, suite.dataset, report.variant, row.table, row.name, row.student, row.teacher or "")
    yield from map(clean, (*names, setting(row.loss), row.report_epoch))
    yield from _figures(check.top1, row.tolerance.top1)
    yield from _figures(check.gain, row.tolerance.gain)
    yield from (_number(row.reference.std), row.reference.n, _number(check.optimism))
    yield clean(report.altered)
    yield clean("" if row.is_baseline else row.over or "baseline")
    yield clean(shown(row.recipe, fields))
    yield from (" ".join(check.ids), _by_seed(check.values), _by_seed(check.gains))
    yield clean("; ".join(notes(check)))
    yield from _other_evidence(check.published)


def _by_seed(values: Mapping[int, float]) -> str:
    """{0: 91.5, 1: 90.25} -> `0=91.5 1=90.25`."""
    return " ".join(f"{seed}={_number(value)}" for seed, value in sorted(values.items()))


def _other_evidence(found: Published | None) -> Iterator[object]:
    """What others published of the row; empty cells where they published nothing."""
    if found is None:
        yield from [""] * len(_OTHER)
        return
    top1 = found.top1
    yield from (found.kind, top1.n, _number(top1.measured), _number(top1.difference), top1.word)
    yield from (_number(found.report_epochs.get(name)) for name in ("last", "best"))
    yield " ".join(map(str, found.epochs))


def _figures(verdict: Verdict, tolerance: float) -> Iterator[object]:
    low, high = verdict.interval or (None, None)
    yield verdict.word
    yield from map(_number, (verdict.printed, verdict.measured, verdict.std))
    yield verdict.n
    yield from map(_number, (verdict.difference, low, high, tolerance))
    yield "" if verdict.within is None else str(verdict.within).lower()
    yield _number(verdict.p)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")
