"""Commands that judge: a paper's conclusions, the power of a verdict, what the next seeds are, deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.cli_options import as_json, judgement, offline, say, selection

if TYPE_CHECKING:
    from kdbench.workload import Selection


@click.command()
@selection
@judgement
@as_json
def claims(chosen: Selection, *, as_json: bool) -> int:
    """Hold what papers conclude against what is stored; 1 where a conclusion does not hold."""
    from kdbench.claim import Outcome
    from kdbench.claims import check_claims
    from kdbench.judging import judge
    from kdbench.report.claims import claim_lines

    found = {suite.path: check_claims(suite, checks) for suite, checks in judge(chosen).suites}
    if as_json:
        say(found)
    else:
        lines = [line for each in found.values() for line in claim_lines(each)]
        click.echo("\n".join(lines or ["no claims on these rows"]))
    return int(any(one.outcome is Outcome.FAILS for each in found.values() for one in each))


@click.command()
@click.option("--margin", default=0.5, show_default=True, help="The tolerance, in percentage points.")
@click.option("--off", default=0.0, show_default=True, help="The true difference, in percentage points.")
@click.option(
    "--std", default="0.1,0.2,0.3,0.5", show_default=True, metavar="POINTS", help="Of one seed, several."
)
@click.option("--n", default="2,3,5,10", show_default=True, metavar="SEEDS", help="How many seeds, several.")
def power(margin: float, off: float, std: str, n: str) -> None:
    """How often a row is found to be reproduced, in percent, by its seeds and their spread."""
    from kdbench.power import power_table

    click.echo(power_table(margin=margin, off=off, stds=std, seeds=n))


def propose(chosen: Selection, budget: str | None, *, as_json: bool) -> None:
    """What `plan --budget` and `plan --seeds auto` print: which seeds decide the most for their time."""
    from msgspec.structs import replace

    from kdbench.deciding import parse_budget, survey
    from kdbench.machine import load_machine
    from kdbench.proposing import afford
    from kdbench.text import describe_proposals

    seconds = parse_budget(budget) if budget is not None else None
    found = survey(replace(chosen, auto=True, seeds=None), load_machine()).proposals
    chosen_ones = found if seconds is None else afford(found, seconds)
    if as_json:
        say(chosen_ones)
    else:
        click.echo("\n".join(describe_proposals(chosen_ones, found)))


@click.command()
@click.argument("row")
@click.option("--seeds", metavar="SEEDS", help="For example 0-2 or 0,3; instead of the row's.")
@click.option("--run", "train", is_flag=True, help="Train what is missing.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Runs at a time.")
@offline
@as_json
def attribute(
    row: str, *, seeds: str | None, train: bool, jobs: int | None, offline: bool, as_json: bool
) -> None:
    """How much of the difference between paper and code each delta of a ROW explains."""
    from kdbench import attributing
    from kdbench.text import describe_attribution
    from kdbench.workload import parse_seeds

    only = parse_seeds(seeds) if seeds is not None else None
    found, missing = attributing.attribution(row, only, train=train, slots=jobs, offline=offline)
    if as_json:
        say(found)
    else:
        click.echo("\n".join(describe_attribution(found, missing)))
