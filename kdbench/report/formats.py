"""Every format of a report: its name, the suffixes that choose it, and the function that writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

from kdbench.errors import UserError, require, require_all

if TYPE_CHECKING:  # the command line's help names the formats: it imports nothing else
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kdbench.plan.objectives import Audit
    from kdbench.report.content import Report
    from kdbench.spec.results import Result
    from kdbench.spec.suites import Suite, Variant
    from kdbench.spec.verdicts import Check
    from kdbench.suite.lint import Finding


class Format(NamedTuple):
    """One way to write reports."""

    suffixes: tuple[str, ...]
    place: str
    """`module:function`, from the reports of suites to a text; imported when asked for."""


FORMATS = {
    "markdown": Format((".md", ""), "kdbench.report.markdown:markdown"),
    "html": Format((".html", ".htm"), "kdbench.report.html:page"),
    "json": Format((".json",), "kdbench.report.data:as_json"),
    "csv": Format((".csv",), "kdbench.report.data:as_csv"),
    "latex": Format((".tex",), "kdbench.report.latex:latex"),
    "junit": Format((".xml",), "kdbench.report.junit:junit"),
    "badge": Format((".svg",), "kdbench.report.badge:svg"),
    "shields": Format((), "kdbench.report.badge:endpoint"),
}


def format_of(path: Path) -> str:
    """The format that a file's suffix names; Markdown if it has none.

    Raises:
        UserError: no format has the suffix.
    """
    for name, each in FORMATS.items():
        if path.suffix.lower() in each.suffixes:
            return name
    known = ", ".join(f"{suffix} ({name})" for name, each in FORMATS.items() for suffix in each.suffixes[:1])
    raise UserError(
        f"{path}: no format has the suffix {path.suffix}; end the name in one of {known}, or say --format"
    )


def write_out(reports: Sequence[Report], name: str) -> str:
    """The reports of suites as one text in a format.

    Raises:
        UserError: there is no such format.
    """
    from kdbench import catalog

    catalog.require_known("format", name, FORMATS)
    text: str = catalog.load(FORMATS[name].place)(reports)
    return text


def render(
    suite: Suite,
    checks: Sequence[Check],
    findings: Sequence[Finding] = (),
    *,
    format: str = "markdown",  # noqa: A002 - as on the command line
    variant: Variant = "released",
    command: str = "",
    environment: Mapping[str, object] | None = None,
    audit: Sequence[Audit] = (),
    results: Mapping[str, Result] | None = None,
) -> str:
    """The report of one suite.

    Args:
        suite: gives the paper, the order of tables and rows, and the deltas.
        checks: of rows of the suite, in any order; tables without a check are left out.
        findings: what `lint_suite` found.
        format: `markdown`, `html`, `json`, `csv`, `latex`, `junit`, `badge` or `shields`.
        variant: `released` or `printed`: which of the two was trained.
        command: what makes this report again, a command per line; left out if empty.
        environment: what the runs were trained with, by name.
        audit: what `audit_suite` found; left out if empty.
        results: by the id of their run, for the learning curves of the page.

    Raises:
        UserError: there is no such format or variant, or suite, checks or findings are something else.
    """
    from kdbench import catalog
    from kdbench.report.content import Report, in_order
    from kdbench.spec.suites import Suite, Variant
    from kdbench.spec.verdicts import Check
    from kdbench.suite.lint import Finding
    from kdbench.verdict.claims import check_claims

    require("suite", suite, Suite, "a suite from kdbench.load_suite")
    checks = require_all("checks", checks, Check, "what kdbench.check_suite gave")
    findings = require_all("findings", findings, Finding, "what kdbench.lint_suite gave")
    catalog.require_known("variant", variant, get_args(Variant))
    report = Report(
        suite=suite,
        checks=in_order(suite, checks),
        findings=findings,
        variant=variant,
        command=command,
        environment=environment or {},
        audit=audit,
        claims=check_claims(suite, checks),
        results=results or {},
    )
    return write_out([report], format)
