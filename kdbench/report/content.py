"""What a report of one suite is made of: every format draws from this value, and from nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from kdbench.grouping import grouped
from kdbench.plan.objectives import Audit
from kdbench.spec.author_runs import AuthorRun
from kdbench.spec.recipes import differing
from kdbench.spec.results import Result
from kdbench.spec.suites import Suite, Variant, gained_over
from kdbench.spec.verdicts import Check, ClaimCheck
from kdbench.suite.lint import Finding
from kdbench.verdict.controls import Controlled


class Report(Struct, frozen=True, kw_only=True):
    """A suite with its checked rows, and all that is shown beside them."""

    suite: Suite
    checks: Sequence[Check]
    """In the order of the suite's rows: `in_order`."""
    findings: Sequence[Finding] = ()
    """What lint found; contradictions are reported, the rest stands with the rows."""
    variant: Variant = "released"
    """Which variant of the suite was trained."""
    altered: str = ""
    """The options that make its runs others than the suite's: `--smoke`, `--set epochs=5`; "" without any."""
    command: str = ""
    """What makes this report again, a command per line."""
    environment: Mapping[str, object] = {}
    """What the runs were trained with, by name."""
    audit: Sequence[Audit] = ()
    claims: Sequence[ClaimCheck] = ()
    """What the paper concludes, held against the same results."""
    controls: Sequence[Controlled] = ()
    """The rows that have a teacher beside what they must beat, where asked for."""
    results: Mapping[str, Result] = {}
    """By the id of their run: the curves."""
    authors: Mapping[str, Sequence[AuthorRun]] = {}
    """What the authors published of their own runs, by the name of the row."""
    records: Mapping[str, str] = {}
    """Where the record of a run lies, by its id: an address relative to the report."""

    @property
    def tables(self) -> dict[str, list[Check]]:
        """The checks of each table that has any, in order."""
        return grouped((check.row.table, check) for check in self.checks)

    @property
    def is_bare(self) -> bool:
        """Whether nothing is printed of its rows, so that its methods are held against each other alone."""
        return is_bare(self.checks)

    @property
    def against(self) -> Literal["printed", "reference"]:
        """What tables call the numbers that its rows are held against."""
        return against(self.checks)

    @property
    def recipe_fields(self) -> tuple[str, ...]:
        """The fields in which the recipes of its rows differ."""
        return differing(check.row.recipe for check in self.checks)

    @property
    def contradictions(self) -> list[Finding]:
        """The findings in which two printed figures contradict each other."""
        return [finding for finding in self.findings if finding.level == "warning"]

    @property
    def baselines(self) -> dict[str, Check]:
        """The row over which a row gains, by the row's name, where it is another one of this report."""
        there = {check.row.name: check for check in self.checks}
        over = gained_over(check.row for check in self.checks)
        return {name: there[other] for name, other in over.items() if other in there}


def is_bare(checks: Iterable[Check]) -> bool:
    """Whether nothing is printed of any of these rows."""
    return all(check.top1.printed is check.gain.printed is None for check in checks)


def against(checks: Iterable[Check]) -> Literal["printed", "reference"]:
    """What tables call the numbers that rows are held against: nobody printed kdbench's own references."""
    references = [check.row.reference for check in checks]
    kinds = {reference.kind for reference in references if reference.is_given}
    return "reference" if kinds == {"measured"} else "printed"


def in_order(suite: Suite, checks: Sequence[Check]) -> list[Check]:
    """The checks in the order of the suite's rows, in whatever order they come."""
    place = {row.name: number for number, row in enumerate(suite.rows)}
    return sorted(checks, key=lambda check: place.get(check.row.name, len(place)))
