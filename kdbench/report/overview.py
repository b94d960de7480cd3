"""results/README.md: every suite that has evidence, a line each; the same evidence gives the same text."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from kdbench.formatting import EMPTY, escape_table, plural
from kdbench.report.ages import trained
from kdbench.report.content import Report
from kdbench.spec.verdicts import Check, Word
from kdbench.verdict.check import to_train
from kdbench.verdict.counts import counts, tally
from kdbench.verdict.published import NAMES, is_reference, of_authors

HEADS = ("suite", "paper", "printed", "our runs", "author runs", "released weights", "machine", "trained")
LEGEND = """\
Made by `kdbench overview`; not to be edited. Printed: the accuracies of the suite. Each kind of evidence is
counted on its own: runs that kdbench trained, runs that the authors published, and their weights, evaluated
by kdbench. `kdbench check SUITE` judges a line again, `kdbench run SUITE` trains it again."""

FOOTNOTE = """\
(1) The printed numbers are the means of these very author runs, which therefore judge nothing and are not
counted."""


def overview(reports: Iterable[Report]) -> str:
    """A Markdown page of the suites that have any evidence."""
    shown = [report for report in reports if has_evidence(report.checks)]
    if not shown:
        return f"# Results\n\n{LEGEND}\n\nNo suite has any result yet.\n"
    lines = escape_table(map(_line, shown))
    body = tabulate(lines, HEADS, tablefmt="pipe", disable_numparse=True)
    circular = any(is_reference(check) for report in shown for check in report.checks)
    return "\n\n".join(["# Results", LEGEND, body, *([FOOTNOTE] if circular else [])]) + "\n"


def has_evidence(checks: Iterable[Check]) -> bool:
    """Whether any row has a run of ours or something published."""
    return any(check.values or check.published for check in checks)


def _line(report: Report) -> list[str]:
    suite, checks = report.suite, to_train(report.checks)
    printed = sum(row.reference.top1 is not None for row in suite.rows)
    by_kind: dict[str, list[Check]] = {kind: [] for kind in NAMES}
    for check in report.checks:
        if check.published:
            by_kind[check.published.kind].append(check)
    ids = dict.fromkeys(of for check in checks for of in check.ids if of in report.results)
    days = sorted(filter(None, {trained(report.results[of]) for of in ids}))
    machine = report.environment.get("gpu") or report.environment.get("cpu") or EMPTY
    return [
        suite.path.removesuffix(".toml"),
        suite.paper,
        str(printed),
        _verdicts([check for check in checks if check.values]),
        *map(_published, by_kind.values()),
        str(machine),
        " to ".join(dict.fromkeys([days[0], days[-1]])) if days else EMPTY,
    ]


def _published(checks: Sequence[Check]) -> str:
    """The verdicts of one kind of published evidence; rows whose printed number it is, apart from them."""
    circular = sum(map(is_reference, checks))
    judged = _verdicts(of_authors(check for check in checks if not is_reference(check)))
    if not circular:
        return judged
    return ", ".join([*([judged] if judged != EMPTY else []), f"{plural(circular, 'row')} (1)"])


def _verdicts(checks: Sequence[Check]) -> str:
    """`12 reproduced, 3 consistent`; a dash without evidence of the kind."""
    words = dict(tally(check.top1 for check in checks).words)
    bare = sum(check.top1.word is Word.NO_REFERENCE for check in checks)
    return ", ".join(counts(words | ({Word.NO_REFERENCE: bare} if bare else {}))) or EMPTY
