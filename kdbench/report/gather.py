"""What `kdbench report`, `run` and `plot` show: checks -> reports."""

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from kdbench.grouping import grouped
from kdbench.plan.controls import load_prober
from kdbench.plan.objectives import audit_suite
from kdbench.plan.selection import Selection
from kdbench.report.content import Report, in_order
from kdbench.spec.results import Result
from kdbench.spec.suites import Suite
from kdbench.spec.verdicts import Check
from kdbench.store.compact import file_of
from kdbench.store.records import Index, facts
from kdbench.suite.lint import citations, lint_suite
from kdbench.suite.load import load_copies, load_originals
from kdbench.verdict.claims import check_claims
from kdbench.verdict.judge import Judged

VALUES = 4
"""Of a fact of the environment that are named; the others are counted."""


def gather(
    judged: Judged, *, audit: bool = False, beside: Path | None = None, words: Sequence[str] = ()
) -> list[Report]:
    """A report of each suite.

    Args:
        judged: its rows, held against what is stored.
        audit: with what the losses do, for which torch is imported.
        beside: the folder that the report is written to, where its links start; the current one.
        words: the options that `kdbench report` is given beside the selection.
    """
    prober, chosen = load_prober() if audit else None, judged.chosen
    reports = []
    for suite, checks in judged.suites:
        copies = load_copies(suite)
        authors = judged.authors.get(suite.path)
        report = Report(
            suite=suite,
            checks=cited(suite, in_order(suite, checks), copies),
            findings=lint_suite(suite, load_originals(suite), copies),
            variant=chosen.variant,
            altered=chosen.altered,
            command=commands(chosen, suite, words),
            environment=environment(checks, judged.results),
            claims=check_claims(suite, checks),
            controls=judged.controls.get(suite.path, ()),
            audit=audit_suite(suite, chosen.cells(suite, chosen.rows), prober) if prober else (),
            results=judged.results,
            authors=grouped((run.row, run) for run in authors.runs) if authors else {},
            records=dict(_records(checks, judged.there, beside or Path())),
        )
        reports.append(report)
    return reports


def cited(suite: Suite, checks: Sequence[Check], copies: Mapping[str, Suite]) -> list[Check]:
    """Checks that know which rows of other suites print their number too."""
    found = citations(suite, copies)
    return [replace(each, copies=found[each.row.name]) if each.row.name in found else each for each in checks]


def _records(checks: Iterable[Check], there: Index, beside: Path) -> Iterator[tuple[str, str]]:
    """Where each run's result lies, or else its failure, relative to a folder."""
    # relpath takes a while, and thousands of records lie in a few folders.
    folders: dict[Path, str] = {}
    for of in dict.fromkeys(name for check in checks for name in check.ids):
        if path := there.results.get(of) or there.failures.get(of):
            file = file_of(path)
            if file.parent not in folders:
                folders[file.parent] = Path(os.path.relpath(file.parent, beside)).as_posix()
            yield of, f"{folders[file.parent]}/{file.name}"


def environment(checks: Iterable[Check], results: Mapping[str, Result]) -> dict[str, str]:
    """What the runs of rows were trained with."""
    names = dict.fromkeys(name for check in checks for name in check.ids)
    return facts((results[name] for name in names if name in results), most=VALUES)


def commands(chosen: Selection, suite: Suite, words: Sequence[str] = ()) -> str:
    """The command that trains the same rows again, and the one that reports on them, a line each."""
    asked = [suite.address, *_options(chosen)]
    lines = (["kdbench", "run", *asked], ["kdbench", "report", *asked, *words])
    return "\n".join(map(shlex.join, lines))


def _options(chosen: Selection) -> Iterator[str]:
    """The options that make this selection of a suite."""
    # In the order of a command line; an empty value or a flag that is not set is left out.
    options: list[tuple[str, str | bool]] = [
        ("--rows", "" if chosen.rows == "*" else chosen.rows),
        ("--seeds", "auto" if chosen.auto else ",".join(map(str, chosen.seeds or ()))),
        ("--max-seeds", str(chosen.most) if chosen.auto else ""),
        ("--formula", chosen.formula),
        ("--as", "" if chosen.formula or chosen.variant == "released" else chosen.variant),
        *(("--set", f"{key}={value}") for key, value in chosen.settings.items()),
        ("--precision", "" if chosen.precision == "float32" else chosen.precision),
        ("--shard", "" if chosen.part == (1, 1) else "/".join(map(str, chosen.part))),
        ("--smoke", chosen.smoke),
        ("--report-epoch", "" if chosen.report_epoch is None else str(chosen.report_epoch)),
        ("--controls", chosen.controls),
        ("--holm", chosen.holm),
        ("--single-seed", chosen.single_seed),
    ]
    for name, value in options:
        if value:
            yield name
        if value and isinstance(value, str):
            yield value


def page_of_job() -> str:
    """The address of the CI job that this runs in, where its artefacts are listed; "" outside of one."""
    of = [os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    return "{}/{}/actions/runs/{}".format(*of) if all(of) else ""
