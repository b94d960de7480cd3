"""`kdbench report` and `plot`: what was found, to be read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdbench.commands.options import STDOUT, Command, OutputPath, judgement, output_file, selection
from kdbench.formatting import plural
from kdbench.report.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdbench.plan.selection import Selection
    from kdbench.report.content import Report


@click.command(cls=Command)
@selection
@judgement
@output_file
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(FORMATS)),
    help="Instead of the one that the file's suffix names; Markdown without either.",
)
@click.option(
    "--update",
    "into",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A text in which the summary replaces what stands between the kdbench markers.",
)
@click.option("--summary", is_flag=True, help="One table per suite only, in Markdown, below 1 MiB.")
@click.option(
    "--full-report-url",
    metavar="URL",
    help="Where the whole report is, for a summary that is cut; in CI the job's page.",
)
@click.option("--with-ages", is_flag=True, help="With how old the evidence is, in Markdown.")
@click.option("--audit", "with_audit", is_flag=True, help="With what the losses do; imports torch.")
def report(
    chosen: Selection,
    *,
    output: Path | None,
    kind: str | None,
    into: Path | None,
    summary: bool,
    full_report_url: str | None,
    with_ages: bool,
    with_audit: bool,
) -> None:
    """Write the report, in any of eight formats.

    Markdown, a page, data, tables for LaTeX, JUnit, a badge.
    """
    from kdbench.report import gather
    from kdbench.report.ages import ages
    from kdbench.report.formats import write_out
    from kdbench.report.summary import LIMIT, put_between
    from kdbench.report.summary import summary as short
    from kdbench.store.outputs import read_text, write_output
    from kdbench.verdict import judge

    brief = summary or into is not None
    name = _format(output, kind, brief=brief, into=into is not None, ages=with_ages)
    words = [*(["--format", name] if name != "markdown" else []), *(["--audit"] if with_audit else [])]
    beside = output.parent if output else None
    reports = gather.gather(judge.judge(chosen), audit=with_audit, beside=beside, words=words)
    aged = f"\n{ages(reports, datetime.now(UTC).date())}" if with_ages else ""
    if output == STDOUT:
        output = None
    if name == "html" and output is not None:
        write_page(output, reports)
        return
    if brief:
        whole = full_report_url or gather.page_of_job()
        text = short(reports, rest=whole, limit=LIMIT - len(aged.encode())) + aged
    else:
        text = write_out(reports, name) + aged
    if into is not None:
        write_output(into, put_between(read_text(into), text, str(into)).encode())
    elif output is not None:
        write_output(output, text.encode())
    else:
        printed = text if name == "markdown" else text.encode()  # formats for programs are UTF-8 everywhere
        click.echo(printed, nl=not text.endswith("\n"))  # the same bytes as in a file


def write_page(output: Path, reports: Sequence[Report]) -> None:
    """The page, and before it the folder of what a large one loads; a device or a pipe gets it whole.

    The folder that a former, larger page of this name needed is removed.
    """
    from kdbench.report import html
    from kdbench.store.outputs import remove_written, write_folder, write_output

    if output.exists() and not output.is_file():
        write_output(output, html.page(reports).encode())
        return
    files = html.page_files(reports, output.name)
    page = files.pop(output.name)
    folder = output.parent / f"{output.stem}.files"
    if files:
        write_folder(folder, {Path(name).name: content for name, content in files.items()})
    write_output(output, page)
    if not files:
        remove_written(folder)


def _format(output: Path | None, kind: str | None, *, brief: bool, into: bool, ages: bool) -> str:
    """The format asked for, by name or by suffix; what contradicts it is refused."""
    from kdbench.report.formats import format_of

    if into and output:
        raise click.UsageError("--update changes a text in its place: leave out --output")
    if brief and (kind or "markdown") != "markdown":
        raise click.UsageError("--summary and --update are in Markdown: leave out --format")
    name = kind or (format_of(output) if output and not brief else "markdown")
    if ages and name != "markdown":
        raise click.UsageError(f"--with-ages is a section in Markdown, this report is in the format {name}")
    return name


@click.command(cls=Command)
@click.argument("folder", default="suites", type=click.Path(exists=True, file_okay=False, path_type=Path))
@output_file
def overview(folder: Path, *, output: Path | None) -> None:
    """Every suite of a FOLDER that has evidence.

    A line each, with its verdicts by kind of evidence, in Markdown.
    """
    from kdbench.plan.selection import Selection, suites_in
    from kdbench.report import gather
    from kdbench.report.overview import overview as page
    from kdbench.store.outputs import write_output
    from kdbench.verdict import judge

    text = page(gather.gather(judge.judge(Selection(suites=suites_in(folder)))))
    if output is None or output == STDOUT:
        click.echo(text, nl=False)
    else:
        write_output(output, text.encode())


@click.command(cls=Command)
@click.argument("folder", default="suites", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=OutputPath(folder=True),
    help="A folder to write; a former site is replaced.",
)
def site(folder: Path, *, output: Path) -> None:
    """Every suite of a FOLDER as a site.

    A page a suite and a row, badges and a feed: pages that need no network and no server.
    """
    from kdbench.machine import load_machine
    from kdbench.plan.selection import Selection, suites_in
    from kdbench.report import gather
    from kdbench.report.site import site as pages
    from kdbench.store.outputs import check_replaceable, write_folder
    from kdbench.verdict import judge

    check_replaceable(output.resolve())
    results = load_machine().results
    reports = gather.gather(judge.judge(Selection(suites=suites_in(folder))), beside=results)
    files = pages(reports, results)
    write_folder(output, files)
    size = sum(map(len, files.values())) / 1e6
    click.echo(f"{output / 'index.html'}: {plural(len(reports), 'suite')}, {len(files)} files, {size:.1f} MB")


@click.command(cls=Command)
@selection
@judgement
@click.option(
    "-o",
    "--output",
    type=OutputPath(folder=True),
    default=Path("plots"),
    show_default=True,
    help="A folder to write to.",
)
@click.option(
    "--format",
    "kinds",
    type=click.Choice(["png", "svg"]),
    multiple=True,
    default=["png", "svg"],
    show_default=True,
)
def plot(chosen: Selection, *, output: Path, kinds: tuple[str, ...]) -> None:
    """Draw plots of each table, and the methods beside each other.

    A forest plot and learning curves for each table; a panel for each pair of several methods.
    """
    from kdbench.report import gather
    from kdbench.report.plots import draw
    from kdbench.store.outputs import write_output
    from kdbench.verdict import judge

    for report in gather.gather(judge.judge(chosen)):
        for name, picture in draw(report, dict.fromkeys(kinds)):
            write_output(output / name, picture)
            click.echo(output / name)
