"""`kdbench list`, `show` and `schema`: what there is, a row, the form of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdbench.commands.options import Command, CommandGroup, answer, as_json, as_variant, say, selection
from kdbench.formatting import columns

if TYPE_CHECKING:
    from kdbench.catalog import Kind
    from kdbench.plan.selection import Selection
    from kdbench.spec.suites import Variant


@click.group("list", cls=CommandGroup)
def list_() -> None:
    """List suites, rows, losses, models or data sets."""


@list_.command("suites")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@as_json
def list_suites(folder: Path | None, *, as_json: bool) -> None:
    """The suites of a FOLDER; without one those of suites/, and kdbench's own by their names."""
    from kdbench.suite.load import installed, load_suite

    paths = {path.stem: path for path in sorted((folder or Path("suites")).glob("*.toml"))}
    if folder is None:
        own = sorted(path.stem for path in installed().glob("*.toml"))
        paths |= {name: Path(name) for name in own if name not in paths}
    suites = [load_suite(path) for path in paths.values()]
    found = [{"path": suite.path, "paper": suite.paper, "rows": len(suite.rows)} for suite in suites]
    rows = [(each.address, len(each.rows), each.dataset, each.paper) for each in suites]
    answer(found, lambda: columns(rows, ["suite", "rows", "data set", "paper"]), as_json=as_json)


@list_.command("rows")
@selection
@as_json
def list_rows(chosen: Selection, *, as_json: bool) -> None:
    """The rows of suites, each by the address that `show` takes."""
    from kdbench.report.terminal import describe_rows

    suites = chosen.load()
    rows = [cell.row for _, cells in suites for cell in cells]
    answer(rows, lambda: describe_rows(suites), as_json=as_json)


def _list_names(kind: Kind, what: str) -> None:
    @list_.command(kind, help=f"The {what} that a suite may name.")
    @as_json
    def list_names(*, as_json: bool) -> None:
        from kdbench.catalog import entries, plugin_problems
        from kdbench.report.terminal import describe_names

        answer(entries(kind), lambda: describe_names(kind), as_json=as_json)
        for problem in plugin_problems(kind):
            click.echo(f"note: {problem}", err=True)


_list_names("losses", "losses")
_list_names("models", "models")
_list_names("datasets", "data sets")


@click.command(cls=Command)
@click.argument("row")
@as_variant
@as_json
def show(row: str, *, variant: Variant, as_json: bool) -> None:
    """All about a ROW, by the address that `list rows` prints.

    Its run, objective, reference and deltas.
    """
    from kdbench.plan.lookup import find_row
    from kdbench.report.terminal import describe_row
    from kdbench.suite.lint import citations
    from kdbench.suite.load import load_copies

    suite, cell = find_row(row, variant)
    copies = citations(suite, load_copies(suite)).get(cell.row.name, ())
    runs = dict(zip(cell.ids, cell.runs, strict=True))
    found = {"suite": suite.path, "row": cell.row, "runs": runs, "copied_by": copies}
    answer(found, lambda: describe_row(suite, cell, variant, copies), as_json=as_json)


@click.command(cls=Command)
def schema() -> None:
    """Print the JSON Schema of a suite file, for editors."""
    from kdbench.suite.schema import json_schema

    say(json_schema())
