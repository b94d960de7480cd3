"""The report of a suite as Markdown: the same checks give the same text, byte for byte."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from textwrap import indent

from kdbench.formatting import escape, table
from kdbench.report import sentences
from kdbench.report.audit import audit_section
from kdbench.report.claims import claims_section
from kdbench.report.content import Report
from kdbench.report.controls import controls_section
from kdbench.report.methods import markdown_sections, side_by_side
from kdbench.report.published import published_section
from kdbench.report.summary import by_seed
from kdbench.report.words import accuracy, gain
from kdbench.spec.verdicts import Check
from kdbench.verdict.check import headline


def markdown(reports: Iterable[Report]) -> str:
    """The whole reports of suites, one after the other."""
    return "\n".join(map(_report, reports))


def _report(report: Report) -> str:
    fields = report.recipe_fields
    deltas = report.suite.deltas if report.variant == "released" else ()
    environment = sorted(report.environment.items())
    tables = (_table(name, of, fields, report.against) for name, of in report.tables.items())
    # A part that has nothing to show yields nothing, not even its heading.
    parts = (
        _head(report),
        *((_methods(report),) if report.is_bare else tables),
        _section("Remarks on the numbers", sentences.on_the_numbers(report.suite, report.checks)),
        _section("Deltas", (f"- {escape(of.at)}: {escape(sentences.delta(of))}" for of in deltas)),
        _section("Lint", (f"- {escape(finding.sentence)}" for finding in report.contradictions)),
        audit_section(report.audit),
        controls_section(report.controls),
        claims_section(report.claims),
        published_section(report.suite, report.checks),
        _section("Environment", (f"- {escape(name)}: {escape(value)}" for name, value in environment)),
        _section("Command", [indent(report.command, "    ")] if report.command else ()),
    )
    return "\n\n".join(chain.from_iterable(parts)) + "\n"


def _head(report: Report) -> Iterator[str]:
    yield f"# {escape(report.suite.paper)}"
    if report.altered:
        yield f"**{escape(sentences.altered(report.altered))}**"
    yield escape(sentences.subject(report.suite, report.variant))
    yield headline(report.checks)
    yield sentences.BARE_LEGEND if report.is_bare else sentences.legend(report.against)


def _methods(report: Report) -> Iterator[str]:
    """Where nothing is printed: the methods beside each other, then each row with its seeds."""
    yield from markdown_sections(side_by_side(report))
    checks = sentences.without_reference(report.checks)
    yield "## Rows"
    yield by_seed("pipe", checks)
    settings = []
    for name, of in report.tables.items():
        text = sentences.settings([check.row for check in of], report.recipe_fields)
        settings.append(f"- Table {escape(name)}: {escape(text)}")
    yield "\n".join(settings)
    yield from _notes(checks)


def _table(name: str, checks: Sequence[Check], fields: Sequence[str], against: str) -> Iterator[str]:
    rows = [check.row for check in checks]
    names = sentences.who_by_setting(rows)
    heads = (
        *("student", "teacher", against, "measured", "difference", "verdict"),
        *(f"{against} gain", "measured gain", "gain difference", "verdict of the gain"),
    )
    body = []
    for check in checks:
        teacher = str(check.row.teacher or "")
        body.append((names[check.row.name], teacher, *accuracy(check), *gain(check)))
    yield f"## Table {escape(name)}"
    yield escape(sentences.settings(rows, fields))
    yield table("pipe", heads, body, "llrrrlrrrl")
    if exact := sentences.exactness(checks):
        yield exact
    yield from _notes(checks)


def _notes(checks: Sequence[Check]) -> Iterator[str]:
    if notes := [f"- {escape(who)}: {escape(text)}" for who, text in sentences.shared_notes(checks)]:
        yield "\n".join(notes)


def _section(title: str, content: Iterable[str]) -> Iterator[str]:
    """A heading and its lines; nothing at all where there is nothing to say."""
    if text := "\n".join(content):
        yield f"## {title}"
        yield text
