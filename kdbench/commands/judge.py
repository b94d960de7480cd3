"""`kdbench check`, `claims` and `power`: verdicts, a paper's conclusions, how many seeds a verdict takes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdbench.commands.options import Command, answer, as_json, judgement, selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdbench.machine import Machine
    from kdbench.plan.selection import Selection
    from kdbench.spec.results import Failure


@click.command(cls=Command)
@partial(selection, required=False)
@judgement
@click.option("--all", "every", is_flag=True, help="Every suite of suites/ that has evidence, in short.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless everything is reproduced.")
@as_json
def check(chosen: Selection, *, every: bool, strict: bool, as_json: bool) -> int:
    """Judge the rows by the stored results; trains nothing."""
    if every == bool(chosen.suites):
        raise click.UsageError("name either suites or --all" if every else "name a SUITE, or --all")
    if every:
        return _check_all(chosen, strict=strict, as_json=as_json)
    return print_verdicts(chosen, strict=strict, as_json=as_json, report=False)


def _check_all(chosen: Selection, *, strict: bool, as_json: bool) -> int:
    """Every suite that has evidence: a block each, and a line on all; the exit code."""
    from msgspec.structs import replace

    from kdbench.plan.selection import suites_in
    from kdbench.report.overview import has_evidence
    from kdbench.report.terminal import blocks
    from kdbench.verdict.check import exit_code
    from kdbench.verdict.judge import judge

    judged = judge(replace(chosen, suites=suites_in(Path("suites")))).suites
    shown = [(suite, checks) for suite, checks in judged if has_evidence(checks)]
    checks = [check for _, some in shown for check in some]
    answer({suite.path: some for suite, some in shown}, lambda: blocks(shown), as_json=as_json)
    return exit_code(checks, strict=strict)


def print_verdicts(
    chosen: Selection,
    *,
    strict: bool,
    as_json: bool,
    report: bool,
    machine: Machine | None = None,
    failed: Mapping[str, Failure] | None = None,
) -> int:
    """Print the verdicts on this machine's results, as a table or in a report; the exit code.

    Args:
        chosen: the rows.
        strict: whether all that is not reproduced makes the exit code 1.
        as_json: print JSON.
        report: print the report, not the table alone.
        machine: where results lie (None: as benchmark.toml says).
        failed: why runs failed just now, by run, which need not have been stored.
    """
    from kdbench.report import gather, terminal
    from kdbench.report.markdown import markdown
    from kdbench.verdict.check import exit_code
    from kdbench.verdict.judge import judge

    judged = judge(chosen, machine, failed)
    checks = [check for _, some in judged.suites for check in some]
    text = (lambda: markdown(gather.gather(judged))) if report else lambda: terminal.table(judged)
    answer(checks, text, as_json=as_json)
    damaged = any(each.damage for some in judged.controls.values() for each in some)
    return max(int(damaged), exit_code(checks, strict=strict))


@click.command(cls=Command)
@selection
@judgement
@as_json
def claims(chosen: Selection, *, as_json: bool) -> int:
    """Test what papers conclude on the stored results.

    Author runs are held apart. Exits with 1 where a conclusion does not hold in our runs.
    """
    from kdbench.report.claims import claim_lines
    from kdbench.report.published import claims as claims_of_authors
    from kdbench.spec.verdicts import Outcome
    from kdbench.verdict.claims import check_claims
    from kdbench.verdict.judge import judge
    from kdbench.verdict.published import of_authors

    judged = judge(chosen).suites
    found = {suite.path: check_claims(suite, checks) for suite, checks in judged}
    theirs = {}
    lines = [line for each in found.values() for line in claim_lines(each)]
    for suite, checks in judged:
        lines += claims_of_authors(suite, checks)
        if of_theirs := check_claims(suite, of_authors(checks)):
            theirs[f"{suite.path}, author runs"] = of_theirs
    answer(found | theirs, lambda: lines or ["no claims on these rows"], as_json=as_json)
    return int(any(one.outcome is Outcome.FAILS for each in found.values() for one in each))


@click.command(cls=Command)
@click.option("--margin", default=0.5, show_default=True, help="The tolerance, in percentage points.")
@click.option("--difference", default=0.0, show_default=True, help="The true one, in percentage points.")
@click.option(
    "--std", default="0.1,0.2,0.3,0.5", show_default=True, metavar="POINTS", help="Of one seed, several."
)
@click.option("--n", default="2,3,5,10", show_default=True, metavar="SEEDS", help="How many seeds, several.")
def power(margin: float, difference: float, std: str, n: str) -> None:
    """How many seeds a verdict takes.

    As a table: how often a row is found to be reproduced, in percent, by its seeds and their spread.
    """
    from kdbench.verdict.power import power_table

    click.echo(power_table(margin=margin, difference=difference, stds=std, seeds=n))
