"""How old the evidence of each verdict is: asked for, since it differs from day to day."""

from collections.abc import Mapping, Sequence
from datetime import date

from kdbench.formatting import table
from kdbench.report.content import Report
from kdbench.spec.results import Result
from kdbench.spec.verdicts import Check

NAME = "Age of the evidence"
_HEADS = ("row", "verdict", "trained", "days ago")


def trained(result: Result) -> str:
    """The day on which a run was trained, YYYY-MM-DD; "" where its record does not say."""
    return str(result.environment.get("finished") or "")[:10]


def ages(reports: Sequence[Report], today: date) -> str:
    """A Markdown section: of each row with a result the day of its oldest training, the oldest row first."""
    found = [
        (day, report.suite.name, check)
        for report in reports
        for check in report.checks
        if (day := _oldest(check, report.results))
    ]
    rows = [
        (f"{suite}/{check.row.name}", check.top1.word, day, (today - date.fromisoformat(day)).days)
        for day, suite, check in sorted(found, key=lambda each: each[:2])
    ]
    body = table("pipe", _HEADS, rows) if rows else "No record says a day."
    return f"## {NAME}\n\n{body}\n"


def _oldest(check: Check, results: Mapping[str, Result]) -> str:
    return min(filter(None, (trained(results[of]) for of in check.ids if of in results)), default="")
