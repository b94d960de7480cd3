"""`kdbench audit`: the losses' arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.cli_options import as_json, say, selection

if TYPE_CHECKING:
    from kdbench.workload import Selection


@click.command()
@selection
@as_json
def audit(chosen: Selection, *, as_json: bool) -> None:
    """Find out what each row's loss does, by its gradient."""
    from kdbench.audit import audit_suite, load_prober
    from kdbench.report.audit import audit_lines

    prober = load_prober()
    found = {suite.path: audit_suite(suite, cells, prober) for suite, cells in chosen.load()}
    if as_json:
        say(found)
    else:
        click.echo("\n\n".join("\n".join([path, "", *audit_lines(some)]) for path, some in found.items()))
