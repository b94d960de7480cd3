"""Commands that hold results against other results, and hand them on: compare, history, bundle, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdbench.cli_options import as_json, say, selection

if TYPE_CHECKING:
    from kdbench.spec import Form
    from kdbench.workload import Selection


@click.command()
@click.argument("a")
@click.argument("b")
@selection
@click.option("--issue", "as_issue", is_flag=True, help="Print the regressions as the text of an issue.")
@as_json
def compare(chosen: Selection, *, a: str, b: str, as_issue: bool, as_json: bool) -> int:
    """Hold the rows of SUITE as B has them against the same rows as A has them, regressions first.

    A and B are results folders, commits of this repository, or the word `printed`.
    """
    from kdbench import comparing
    from kdbench.text import columns

    found = comparing.compare_sources(a, b, chosen)
    if as_json:
        say(found)
    elif as_issue:
        click.echo(comparing.issue(found), nl=False)
    else:
        click.echo(columns(comparing.table(found), comparing.HEADS))
        click.echo(comparing.headline(found))
    return int(comparing.regressed(found))


@click.command()
@click.argument("row")
@click.option(
    "--as", "form", type=click.Choice(["released", "printed"]), default="released", show_default=True
)
@as_json
def history(row: str, *, form: Form, as_json: bool) -> None:
    """What a ROW gave with each version of kdbench that trained it, and where that changed."""
    from kdbench import comparing

    points = comparing.past(row, form)
    if as_json:
        say([{"mean": point.mean, "point": point} for point in points])
    else:
        click.echo(comparing.describe_past(row, points))


@click.command()
@selection
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="evidence.zip",
    show_default=True,
    help="A file to write.",
)
def bundle(chosen: Selection, *, output: Path) -> None:
    """Write the evidence for SUITE into one file: records, predictions, suites, digests, verdicts."""
    from kdbench import bundle as bundling

    made = bundling.bundle(chosen, output)
    for name in made.without:
        click.echo(f"without predictions: {name}", err=True)
    click.echo(f"{output}: {made.records} records, {made.size:,} bytes")


@click.command()
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def verify(bundle: Path, *, as_json: bool) -> int:
    """Judge a BUNDLE again: every accuracy from its predictions, every verdict from its records."""
    from kdbench import verify as verifying

    found = verifying.verify(bundle)
    if as_json:
        say(found)
    else:
        click.echo("\n".join(verifying.describe(bundle, found)))
    return int(not found.sound)
