"""`kdbench reference`: numbers read from a paper."""

from __future__ import annotations

from pathlib import Path

import click

from kdbench.commands.options import CommandGroup
from kdbench.errors import UserError


@click.group(cls=CommandGroup)
def reference() -> None:
    """Add the printed numbers that a suite lacks."""


@reference.command("add")
@click.argument("row")
@click.option("--top1", metavar="PERCENT", help="The accuracy, with the digits that are printed.")
@click.option("--std", metavar="PERCENT", help="Its standard deviation over the paper's runs.")
@click.option("--n", metavar="RUNS", help="The number of those runs.")
@click.option("--gain", metavar="POINTS", help="The printed gain.")
@click.option("--gain-std", metavar="POINTS", help="The standard deviation of the gain itself.")
@click.option("--over", metavar="ROW", help="The row over which it is a gain, if not the baseline.")
@click.option("--sic", is_flag=True, help="The paper itself does not add up; I have looked again.")
@click.option(
    "--kind", type=click.Choice(["printed", "measured", "second-hand"]), default="printed", show_default=True
)
@click.option("--source", required=True, metavar="TEXT", help='Where you read it: "Table 2, in the PDF".')
@click.option("--replace", is_flag=True, help="Where the row has a number already.")
def add(row: str, *, sic: bool, replace: bool, **given: str | None) -> None:
    """Write a number, with its source, into a ROW.

    A ROW is named by the address that `list rows` prints.

    Every other line of the suite stays as it is. Nothing is written if the suite would not load.
    """
    from kdbench.plan.lookup import find_row
    from kdbench.suite.edit import add_reference

    suite, cell = find_row(row, "printed")
    if not Path(suite.path).is_file():
        raise UserError(f"{suite.path} comes with kdbench; copy it to suites/, and name it by its path")
    named = {key: text for key, text in given.items() if text is not None} | ({"sic": "true"} if sic else {})
    line = add_reference(Path(suite.path), cell.row.name, named, replace=replace)
    click.echo(f"{suite.path}: {line}")
