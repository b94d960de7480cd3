"""`kdbench lint` and `audit`: the arithmetic of a paper's numbers, and that of its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.options import Command, answer, as_json, complete_suite, once, selection

if TYPE_CHECKING:
    from kdbench.plan.selection import Selection


@click.command(cls=Command)
@selection
@as_json
def audit(chosen: Selection, *, as_json: bool) -> None:
    """Find out what each row's loss does, by its gradient."""
    from kdbench.plan.controls import load_prober
    from kdbench.plan.objectives import audit_suite
    from kdbench.report.audit import audit_lines

    prober = load_prober()
    found = {suite.path: audit_suite(suite, cells, prober) for suite, cells in chosen.load()}
    texts = ("\n".join([path, "", *audit_lines(some)]) for path, some in found.items())
    answer(found, lambda: "\n\n".join(texts), as_json=as_json)


@click.command(cls=Command)
@click.argument("suite", nargs=-1, required=True, shell_complete=complete_suite, callback=once)
@as_json
def lint(suite: tuple[str, ...], *, as_json: bool) -> None:
    """Find where a paper's printed numbers disagree with each other."""
    from kdbench.report.terminal import describe_findings
    from kdbench.suite.lint import lint_suite
    from kdbench.suite.load import load_copies, load_originals, load_suite

    loaded = {path: load_suite(path) for path in suite}
    found = {path: lint_suite(each, load_originals(each), load_copies(each)) for path, each in loaded.items()}
    lines = (line for path, some in found.items() for line in describe_findings(path, some))
    answer(found, lambda: lines, as_json=as_json)
