"""The report of a suite as Markdown: the same checks give the same text, byte for byte."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from textwrap import indent

from tabulate import tabulate

from kdbench.audit import Audit
from kdbench.check import headline
from kdbench.claims import check_claims
from kdbench.controls import Controlled
from kdbench.lint import Finding
from kdbench.report.audit import audit_section
from kdbench.report.claims import claims_section
from kdbench.report.controls import controls_section
from kdbench.report.summary import gain_word, reasons_of
from kdbench.report.words import escape, measured, plural, printed, setting, signed
from kdbench.spec import Check, Delta, Row, Suite
from kdbench.stats import mean

HEADS = (
    "student",
    "teacher",
    "printed",
    "measured",
    "off",
    "verdict",
    "printed gain",
    "measured gain",
    "verdict of the gain",
)
_ALIGN = ("left", "left", "right", "right", "right", "left", "right", "right", "left")

LEGEND = """\
Accuracies in percent, gains and differences in percentage points. Measured: the mean over the seeds, half
the 90 % interval of its difference from the printed number, and in brackets the number of seeds. `off` is
measured minus printed. `reproduced` and `consistent` lie within the tolerance; `inconclusive`, `below` and
`above` do not."""


def render(
    suite: Suite,
    checks: Sequence[Check],
    findings: Sequence[Finding] = (),
    *,
    form: str = "released",
    command: str = "",
    environment: Mapping[str, object] | None = None,
    audit: Sequence[Audit] = (),
    controls: Sequence[Controlled] = (),
) -> str:
    """The whole report.

    Args:
        suite: gives the paper, the order of tables and rows, and the deltas.
        checks: of rows of the suite, in any order; tables without a check are left out.
        findings: what `lint_suite` found; contradictions are reported (the rest stands with the rows).
        form: `released` or `printed`: which reading of the suite was trained.
        command: what makes this report again; left out if empty.
        environment: what the runs were trained with, by name.
        audit: what `audit_suite` found; left out if empty.
        controls: what `check_controls` found; left out if empty.
    """
    order = {row.name: place for place, row in enumerate(suite.rows)}
    ordered = sorted(checks, key=lambda check: order.get(check.row.name, len(order)))
    parts = (
        _head(suite, ordered, form),
        *(_table(table, of) for table, of in _by_table(ordered).items()),
        _section("Readings", _readings(ordered)),
        controls_section(controls),
        claims_section(check_claims(suite, ordered)),
        _section("Deltas", map(_delta, suite.deltas) if form == "released" else ()),
        _section("Lint", (_finding(finding) for finding in findings if finding.level == "warning")),
        audit_section(audit),
        _section("Environment", _environment(environment or {})),
        _section("Command", [indent(command, "    ")] if command else ()),
    )
    return "\n\n".join(chain.from_iterable(parts)) + "\n"


def _head(suite: Suite, checks: Sequence[Check], form: str) -> Iterator[str]:
    yield f"# {escape(suite.paper)}"
    places = ((f"arXiv {suite.arxiv}" if suite.arxiv else ""), suite.code)
    of = [f"data set {suite.dataset}", f"as {form}", f"suite {suite.name}", *filter(None, places)]
    yield escape(", ".join(of))
    yield headline(checks)
    yield LEGEND


def _by_table(checks: Iterable[Check]) -> dict[str, list[Check]]:
    tables: dict[str, list[Check]] = {}
    for check in checks:
        tables.setdefault(check.row.table, []).append(check)
    return tables


def _table(table: str, checks: Sequence[Check]) -> Iterator[str]:
    yield f"## Table {escape(table)}"
    yield escape(_settings([check.row for check in checks]))
    body = list(map(_line, checks))
    yield tabulate(body, HEADS, tablefmt="pipe", colalign=_ALIGN, disable_numparse=True)
    if any(check.top1.printed is not None and check.top1.exact for check in checks):
        yield _exact(checks)
    if notes := list(_grouped(checks)):
        yield "\n".join(notes)


def _settings(rows: Sequence[Row]) -> str:
    """The losses, readings, tolerances and numbers of seeds of a table, each named once."""
    losses = "; ".join(dict.fromkeys(setting(row.loss) for row in rows))
    epochs = " or ".join(dict.fromkeys(str(row.recipe.epochs) for row in rows))
    readings = " or ".join(dict.fromkeys(str(row.reading) for row in rows))
    margins = " or ".join(
        dict.fromkeys(f"{row.tolerance.top1:g} (gain {row.tolerance.gain:g})" for row in rows)
    )
    seeds = " or ".join(dict.fromkeys(plural(row.seeds, "seed") for row in rows))
    return f"Loss: {losses}. Epochs: {epochs}. Reading: {readings}. Tolerance: {margins}. Asked: {seeds}."


def _line(check: Check) -> list[str]:
    row, top1, gain = check.row, check.top1, check.gain
    return [
        escape(row.student),
        escape(row.teacher or ""),
        printed(row),
        measured(top1),
        signed(top1.off),
        top1.word,
        signed(gain.printed),
        measured(gain, sign=True),
        gain_word(check),
    ]


def _exact(checks: Iterable[Check]) -> str:
    whole = all(check.top1.exact for check in checks if check.top1.printed is not None)
    which = "The printed means" if whole else "Printed means without a printed std and number of runs"
    return f"{which} count as exact: their error is not printed."


def _who(row: Row) -> str:
    return f"{row.student} from {row.teacher}" if row.teacher else row.student


def _grouped(checks: Sequence[Check]) -> Iterator[str]:
    """What the rows of a table say, each sentence once, after the rows that say it."""
    said: dict[str, list[str]] = {}
    for check in checks:
        for text in _notes(check):
            said.setdefault(text, []).append(_who(check.row))
    for text, rows in said.items():
        who = "all rows" if len(rows) == len(checks) > 1 else ", ".join(rows)
        yield f"- {escape(who)}: {escape(text)}"


def _notes(check: Check) -> Iterator[str]:
    """What a row says in words."""
    row = check.row
    yield from reasons_of(check)
    if row.sic:
        yield "the printed gain is not value minus baseline; it stands as printed"
    if row.reference.kind != "printed":
        yield f"reference {row.reference.kind}" + (
            f": {row.reference.source}" if row.reference.source else ""
        )
    if row.assumed:
        yield f"assumed: {row.assumed}"
    if row.note:
        yield row.note
    if check.same_as:
        yield f"same runs as {', '.join(check.same_as)}"
    yield from check.repeats


def _readings(checks: Iterable[Check]) -> Iterator[str]:
    """The mean over runs, each counted once however many rows share it."""
    runs = {check.ids: check.optimism for check in checks}
    known = [optimism for optimism in runs.values() if optimism is not None]
    if known:
        yield (
            f"The best epoch on test lies {signed(mean(known))} points above the last "
            f"(mean over {plural(len(known), 'training')}, each the mean of its seeds; "
            f"from {signed(min(known))} to {signed(max(known))})."
        )


def _delta(delta: Delta) -> str:
    changes = {**delta.recipe, **delta.params}
    what = [f"{name} = {value}" for name, value in changes.items()]
    what += [f"loss {name} becomes {other}" for name, other in delta.loss.items()]
    what += [f"teachers are taken at {delta.teacher}"] if delta.teacher else []
    where = [f"{key} {' or '.join(values)}" for key, values in delta.where.items()]
    told = "; ".join(what) + (f" (where {', '.join(where)})" if where and what else "")
    return f"- {escape(delta.at)}: " + escape(f"{told}. {delta.why}" if told else delta.why)


def _finding(finding: Finding) -> str:
    return f"- {escape(finding.sentence)}"


def _environment(environment: Mapping[str, object]) -> Iterator[str]:
    for name in sorted(environment):
        yield f"- {escape(name)}: {escape(environment[name])}"


def _section(title: str, content: Iterable[str]) -> Iterator[str]:
    """A heading and its lines; nothing at all where there is nothing to say."""
    if text := "\n".join(content):
        yield f"## {title}"
        yield text
