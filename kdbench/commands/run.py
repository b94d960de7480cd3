"""`kdbench run` and `retry`: train, then judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.judge import pronounce
from kdbench.commands.options import as_json, judgement, offline, on_where, selection, wait_for

if TYPE_CHECKING:
    from kdbench.workload import Selection


@click.command()
@selection
@judgement
@click.option("-j", "--jobs", type=click.IntRange(1), help="Runs at a time.")
@click.option("--processes", type=click.IntRange(1), help="That share each run, whose batches have parts.")
@click.option("--again", is_flag=True, help="Train what has a result once more, beside it.")
@click.option("--cohorts/--no-cohorts", default=True, help="Several runs of one teacher in one process.")
@click.option("--deterministic", is_flag=True, help="On GPUs too: slower, the same bits each time.")
@click.option("--dry-run", is_flag=True, help="Only say what would be trained.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless everything is reproduced.")
@on_where
@wait_for
@offline
@as_json
def run(  # noqa: PLR0913 - one per option
    chosen: Selection,
    *,
    jobs: int | None,
    processes: int | None,
    again: bool,
    cohorts: bool,
    deterministic: bool,
    dry_run: bool,
    strict: bool,
    on: str,
    wait: bool,
    offline: bool,
    as_json: bool,
) -> int:
    """Train what is missing, check it, print the report."""
    from kdbench import running

    if dry_run:
        from kdbench.cost.bill import make_bill
        from kdbench.text import describe_plan

        work, machine = running.prepare(chosen, again=again, offline=offline)
        click.echo("\n".join(describe_plan(work, make_bill(work, machine))))
        return 0
    over = running.train(
        chosen,
        on=on,
        wait=wait,
        slots=jobs,
        again=again,
        cohorts=cohorts,
        deterministic=deterministic,
        offline=offline,
        processes=processes,
    )
    return pronounce(chosen, strict=strict, as_json=as_json, report=True) if over else 0


@click.command()
@selection
@on_where
@wait_for
def retry(chosen: Selection, *, on: str, wait: bool) -> int:
    """Forget why runs have failed, and train them again."""
    from kdbench import running
    from kdbench.cluster import commands

    click.echo(commands.anew(chosen), err=True)
    over = running.train(chosen, on=on, wait=wait)
    return pronounce(chosen, strict=False, as_json=False, report=True) if over else 0
