"""`kdbench equivalence`: may a faster arithmetic stand for float32?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.cli_options import PRECISIONS, as_json, offline, say

if TYPE_CHECKING:
    from kdbench.spec import Form, Precision


@click.command()
@click.option("--of", required=True, type=click.Choice(PRECISIONS[1:]), help="What is held against float32.")
@click.option("--row", required=True, metavar="ROW", help="The reference row, as `list rows` prints it.")
@click.option("--seeds", metavar="SEEDS", help="For example 0-4; instead of the suite's.")
@click.option(
    "--as", "form", type=click.Choice(["released", "printed"]), default="released", show_default=True
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="For a trial: no verdict cites it."
)
@offline
@as_json
def equivalence(
    *,
    of: Precision,
    row: str,
    seeds: str | None,
    form: Form,
    settings: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> int:
    """Train a ROW both ways over seeds and keep the paired equivalence test, which verdicts then cite."""
    from kdbench import proving
    from kdbench.equivalence import describe

    record, path = proving.prove(of, row, form, seeds=seeds, settings=settings, offline=offline)
    if as_json:
        say(record)
    else:
        click.echo("\n".join([*describe(record), f"kept in {path}"]))
    return int(not record.shown)
