"""What a report of one suite is made of: every format draws from this value, and from nothing else."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from kdbench.audit import Audit
from kdbench.claim import ClaimCheck
from kdbench.lint import Finding
from kdbench.spec import Check, Form, Result, Suite


class Report(Struct, frozen=True, kw_only=True):
    """A suite with its checked rows, and all that is told beside them."""

    suite: Suite
    checks: Sequence[Check]
    """In the order of the suite's rows: `in_order`."""
    findings: Sequence[Finding] = ()
    """What lint found; contradictions are reported, the rest stands with the rows."""
    form: Form = "released"
    """Which reading of the suite was trained."""
    command: str = ""
    """What makes this report again, a command per line."""
    environment: Mapping[str, object] = {}
    """What the runs were trained with, by name."""
    audit: Sequence[Audit] = ()
    claims: Sequence[ClaimCheck] = ()
    """What the paper concludes, held against the same results."""
    results: Mapping[str, Result] = {}
    """By the id of their run: the curves."""
    records: Mapping[str, str] = {}
    """Where the record of a run lies, by its id: an address relative to the report."""

    @property
    def tables(self) -> dict[str, list[Check]]:
        """The checks of each table that has any, in order."""
        tables: dict[str, list[Check]] = {}
        for check in self.checks:
            tables.setdefault(check.row.table, []).append(check)
        return tables

    @property
    def contradictions(self) -> list[Finding]:
        """The findings in which two printed figures contradict each other."""
        return [finding for finding in self.findings if finding.level == "warning"]


def in_order(suite: Suite, checks: Sequence[Check]) -> list[Check]:
    """The checks in the order of the suite's rows, in whatever order they come."""
    place = {row.name: number for number, row in enumerate(suite.rows)}
    return sorted(checks, key=lambda check: place.get(check.row.name, len(place)))
