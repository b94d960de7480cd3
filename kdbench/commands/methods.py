"""`kdbench methods`: the methods of a suite side by side, as the field's own table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.options import STDOUT, Command, judgement, output_file, selection
from kdbench.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from kdbench.plan.selection import Selection
    from kdbench.report.methods import MethodsReport

SUFFIXES = {
    ".txt": "text",
    ".md": "markdown",
    ".html": "html",
    ".htm": "html",
    ".tex": "latex",
    ".json": "json",
    ".svg": "svg",
    ".png": "png",
}
PICTURES = ("svg", "png")
KINDS = ("our runs", "author runs", "printed", "references")


@click.command(cls=Command)
@selection
@judgement
@click.option("--against", default="", metavar="METHOD", help="Gains and comparisons over it; left out: KD.")
@click.option(
    "--evidence",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="Only tables of this kind; several may be named. Left out: each kind that there is.",
)
@output_file
@click.option(
    "--format",
    "kind",
    type=click.Choice([*dict.fromkeys(SUFFIXES.values())]),
    help="Instead of the one that the file's suffix names; svg and png are the plot of the ranks.",
)
def methods(
    chosen: Selection, *, against: str, kinds: tuple[str, ...], output: Path | None, kind: str | None
) -> None:
    """A table of methods by teacher-student pairs: mean, std, gains.

    With average ranks, their critical difference (Friedman, Nemenyi), and each method against one. Our runs,
    author runs and printed numbers are tables of their own.
    """
    from shutil import get_terminal_size

    from kdbench.report.html import methods_page
    from kdbench.report.methods import WRITERS, as_text
    from kdbench.store.outputs import write_output

    name = kind or _format(output)
    write = {**WRITERS, "html": methods_page}
    reports = gather_methods(chosen, against, kinds)
    if name in PICTURES and output is None:
        raise click.UsageError(f"--format {name} is a picture: name a file with -o, or - for standard output")
    printed = output is None or output == STDOUT
    if name == "text" and printed:
        click.echo(as_text(reports, get_terminal_size().columns), nl=False)
        return
    content = _picture(reports, name) if name in PICTURES else write[name](reports).encode()
    if output is None or printed:
        click.echo(content, nl=False)
    else:
        write_output(output, content)


def _format(output: Path | None) -> str:
    if output is None or output == STDOUT:
        return "text"
    if output.suffix.lower() in SUFFIXES:
        return SUFFIXES[output.suffix.lower()]
    known = ", ".join(SUFFIXES)
    raise click.UsageError(f"{output}: no format has this suffix; end the name in one of {known}")


def gather_methods(chosen: Selection, against: str, kinds: tuple[str, ...]) -> list[MethodsReport]:
    """The tables of each suite, of these kinds of evidence.

    Raises:
        UserError: there is none, or no such method, or a suite or a stored result is wrong.
    """
    from kdbench.report.gather import gather
    from kdbench.report.methods import side_by_side
    from kdbench.verdict.judge import judge

    reports = []
    for report in gather(judge(chosen)):
        found = side_by_side(report, against, kinds)
        if not found.tables:
            raise UserError(f"{report.suite.path}: {_nothing_of(kinds)}")
        reports.append(found)
    return reports


def _nothing_of(kinds: tuple[str, ...]) -> str:
    """That there is no number of these kinds of evidence, and what to do: training makes our runs alone."""
    what = (
        f"no number of the kind {' or '.join(kinds)}" if kinds else "no number, neither of ours nor of others"
    )
    hint = "leave --evidence out to see what there is"
    if not kinds or "our runs" in kinds:
        hint = "`kdbench run` trains them"
    return f"these rows have {what} yet; {hint}"


def _picture(reports: list[MethodsReport], kind: str) -> bytes:
    """The plot of the ranks, of the only table that has some.

    Raises:
        UserError: none has, or several have.
    """
    from kdbench.report.methods import TITLES
    from kdbench.report.ranks import draw_ranks

    ranked = []
    for report in reports:
        for table, ranking, _ in report.parts():
            if ranking is not None:
                trial = f"Trial ({report.altered}), " if report.altered else ""
                ranked.append((f"{trial}{report.suite.name}: {TITLES[table.evidence].lower()}", ranking))
    if not ranked:
        raise UserError(
            "no ranks to draw: they take three methods that have a number for each of two pairs or more"
        )
    if len(ranked) > 1:
        several = "; ".join(title for title, _ in ranked)
        raise UserError(
            f"one picture shows the ranks of one table, here are several ({several}): use --evidence"
        )
    return draw_ranks(ranked[0][1], ranked[0][0], kind)
