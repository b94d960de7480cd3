"""`kdbench status`, `cancel` and `logs`: how far the runs are, on a cluster too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.options import Command, answer, as_json, as_variant, selection

if TYPE_CHECKING:
    from kdbench.plan.selection import Selection
    from kdbench.spec.suites import Variant


@click.command(cls=Command)
@selection
@as_json
def status(chosen: Selection, *, as_json: bool) -> None:
    """Say how far the runs are: done, under way, failed, waiting."""
    from kdbench.cluster import commands
    from kdbench.run.status import describe

    states, trouble = commands.states(chosen)
    if trouble:
        click.echo(f"from the disk alone, as the scheduler is silent: {trouble}", err=True)
    answer(states, lambda: describe(states), as_json=as_json)


@click.command(cls=Command)
@selection
def cancel(chosen: Selection) -> None:
    """End the jobs of a suite on the cluster.

    What they have trained so far is kept.
    """
    from kdbench.cluster import commands

    click.echo(commands.cancel(chosen))


@click.command(cls=Command)
@click.argument("row")
@click.option("-f", "--follow", is_flag=True, help="Go on while it is queued or running.")
@as_variant
def logs(row: str, *, follow: bool, variant: Variant) -> None:
    """What jobs wrote of a ROW's runs.

    And the traceback of those that failed.
    """
    from kdbench.cluster import logs as written

    for line in (written.follow if follow else written.read)(row, variant):
        click.echo(line)
