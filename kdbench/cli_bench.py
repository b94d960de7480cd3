"""`kdbench bench`: how fast this machine trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.cli_options import PRECISIONS, as_json, say

if TYPE_CHECKING:
    from kdbench.spec import Form, Precision


@click.command()
@click.argument("target", nargs=-1, required=True, metavar="ROW|SUITE...")
@click.option(
    "--as", "form", type=click.Choice(["released", "printed"]), default="released", show_default=True
)
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
@as_json
def bench(target: tuple[str, ...], *, form: Form, precision: Precision, as_json: bool) -> None:
    """Measure data path, step and evaluation of rows on this machine; `plan` then knows their hours."""
    from kdbench import benching
    from kdbench.machine import load_machine

    runs = benching.find_runs(target, form, precision)
    record, path = benching.bench(runs, load_machine(), lambda name: click.echo(f"measured {name}", err=True))
    if as_json:
        say(record)
    else:
        click.echo("\n".join([*benching.describe_device(record), "", benching.describe(record)]))
        click.echo(f"\nkept in {path}")
