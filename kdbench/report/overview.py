"""results/README.md: every suite that has evidence, a line each; the same evidence gives the same text."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from kdbench.formatting import EMPTY, plural, table
from kdbench.report.ages import trained
from kdbench.report.content import Report
from kdbench.spec.verdicts import Check, Word
from kdbench.verdict.check import to_train
from kdbench.verdict.counts import counts, tally
from kdbench.verdict.published import NAMES, is_own_reference, is_reference, of_authors

HEADS = ("suite", "paper", "printed", "our runs", "author runs", "released weights", "machine", "trained")
LEGEND = """\
Made by `kdbench overview`; not to be edited. Printed: the accuracies of the suite. Each kind of evidence is
counted on its own: runs that kdbench trained, runs that the authors published, and their weights, evaluated
by kdbench. `kdbench check SUITE` judges a line again, `kdbench run SUITE` trains it again."""

FOOTNOTES = {
    "author run": """\
(1) The printed numbers are the means of these very author runs, which therefore judge nothing and are not
counted.""",
    "our runs": """\
(2) The references are kdbench's own, made of these very runs: they judge what is trained later, and are not
counted.""",
}
"""By kind of evidence: why rows of which the reference was made of that evidence are not counted."""


def overview(reports: Iterable[Report]) -> str:
    """A Markdown page of the suites that have any evidence."""
    shown = [report for report in reports if has_evidence(report.checks)]
    if not shown:
        return f"# Results\n\n{LEGEND}\n\nNo suite has any result yet.\n"
    every = [check for report in shown for check in report.checks]
    lines = table("pipe", HEADS, map(_line, shown))
    return "\n\n".join(["# Results", LEGEND, lines, *footnotes(every)]) + "\n"


def footnotes(checks: Sequence[Check]) -> Iterator[str]:
    """The footnotes that the counts of these checks refer to."""
    found = counts_by_kind(checks)
    yield from (text for kind, text in FOOTNOTES.items() if found[kind].circular)


def has_evidence(checks: Iterable[Check]) -> bool:
    """Whether any row has a run of ours or something published."""
    return any(check.values or check.published for check in checks)


def _line(report: Report) -> list[str]:
    return [
        report.suite.address,
        report.suite.paper,
        str(printed_numbers(report)),
        *(str(each) or EMPTY for each in counts_by_kind(report.checks).values()),
        machine(report),
        " to ".join(dict.fromkeys(days(report))) or EMPTY,
    ]


def printed_numbers(report: Report) -> int:
    """How many accuracies of the suite are printed."""
    return sum(row.reference.top1 is not None for row in report.suite.rows)


def machine(report: Report) -> str:
    """What the runs were trained on; a dash without any."""
    return str(report.environment.get("gpu") or report.environment.get("cpu") or EMPTY)


def days(report: Report) -> list[str]:
    """The first and the last day on which runs of the rows were trained; empty where no record says."""
    ids = dict.fromkeys(of for check in to_train(report.checks) for of in check.ids if of in report.results)
    known = sorted(filter(None, {trained(report.results[of]) for of in ids}))
    return [known[0], known[-1]] if known else []


class Counts(Struct, frozen=True):
    """What one kind of evidence says of a suite's accuracies."""

    words: dict[Word, int]
    """How many rows have which verdict, in the order of the words."""
    circular: int = 0
    """Rows whose reference was made of this very evidence: they are not counted."""
    note: str = ""
    """The number of the footnote that says so."""

    def __str__(self) -> str:
        circular = f"{plural(self.circular, 'row')} ({self.note})" if self.circular else ""
        return ", ".join(filter(None, [*counts(self.words), circular]))


def counts_by_kind(checks: Sequence[Check]) -> dict[str, Counts]:
    """The verdicts by the kind of evidence, as text `12 reproduced, 3 consistent`; "" where there is none."""
    # A reference that was made of these very runs is borne out by them for certain: such rows count apart.
    ours = [check for check in to_train(checks) if check.values]
    judged = [check for check in ours if not is_own_reference(check)]
    found = {"our runs": Counts(_words(judged), len(ours) - len(judged), "2")}
    for kind in NAMES:
        of_kind = [check for check in checks if check.published and check.published.kind == kind]
        judged = of_authors(check for check in of_kind if not is_reference(check))
        found[kind] = Counts(_words(judged), sum(map(is_reference, of_kind)), "1")
    return found


def _words(checks: Sequence[Check]) -> dict[Word, int]:
    words = dict(tally(check.top1 for check in checks).words)
    bare = sum(check.top1.word is Word.NO_REFERENCE for check in checks)
    words |= {Word.NO_REFERENCE: bare} if bare else {}
    return {word: words[word] for word in Word if word in words}
