"""`kdbench import`: other people's teachers, and the logs of their runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdbench.commands.options import CommandGroup, answer, as_json, complete_suite

if TYPE_CHECKING:
    from collections.abc import Iterator


class Importing(CommandGroup):
    """A group whose first word may be a file: `kdbench import FILE` is `kdbench import weights FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before what is no command of the group."""
        known = {*self.commands, *ctx.help_option_names}
        if args and args[0] not in known:
            args = ["weights", *args]
        return super().parse_args(ctx, args)


@click.group("import", cls=Importing)
def import_() -> None:
    """Import weights and logs of others.

    A file of weights becomes a teacher, logs become author runs. `kdbench import FILE` is short for
    `kdbench import weights FILE`.
    """


@import_.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", required=True, metavar="NAME", help="The network that the weights are for.")
@click.option("--dataset", required=True, metavar="NAME", help="What it is to teach, with its label space.")
@click.option(
    "--name", default="", help="How it is called from now on; else as the file, or with its sha256."
)
@click.option("--source", default="", metavar="TEXT", help="Where the file came from, for its record.")
@click.option("--normalize", default="", metavar="NAME", help="The data set whose mean and std are used.")
@click.option("--size", type=click.IntRange(min=0), default=0, help="The side of the images that it sees.")
@click.option("--resize", type=click.IntRange(min=0), default=0, help="Their shorter side before that.")
@click.option(
    "--weights",
    type=click.Choice(["ema", "plain"]),
    help="The averaged or the plain ones, where FILE has both.",
)
@click.option(
    "--map",
    "map_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Which layer is which: TOML or two columns, THEIRS = OURS.",
)
@as_json
def weights(file: Path, *, source: str, weights: str | None, as_json: bool, **asked: Any) -> None:  # noqa: ANN401 - Request's
    """Make a teacher of a FILE of weights.

    PyTorch's state dict, safetensors, or MXNet's .params.
    """
    from kdbench.importing.teacher import Request, import_teacher
    from kdbench.machine import load_machine
    from kdbench.store.provenance import describe

    path, provenance = import_teacher(
        Request(file=file, origin=source, weights=weights or "", **asked),  # type: ignore[arg-type]
        load_machine(),
    )
    answer(provenance, lambda: describe(provenance, str(path)), as_json=as_json)


@import_.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--suite", "path", required=True, metavar="SUITE", shell_complete=complete_suite)
@click.option(
    "--row",
    required=True,
    metavar="GLOB",
    help="The row that the runs belong to; {NAME} is a cell of a table: '{method}/{student}:{teacher}'.",
)
@click.option("--top1", default="", metavar="COLUMN", help="The test accuracies; else the usual names.")
@click.option("--epoch", default="", metavar="COLUMN", help="The epochs; a table without has a line per run.")
@click.option("--last", default="", metavar="COLUMN", help="The last epoch's accuracies, in a line per run.")
@click.option("--best", default="", metavar="COLUMN", help="The best accuracies, in a line per run.")
@click.option("--epochs", default="", metavar="COLUMN", help="How many epochs a run has that a cell holds.")
@click.option("--run", default="", metavar="COLUMN", help="The numbers of the runs; else as they come.")
@click.option("--log", default="", metavar="COLUMN", help="Where each run's own log lies in the repository.")
@click.option(
    "--rename", "renames", multiple=True, metavar="CELL=TEXT", help="How --row writes a cell, for example."
)
@click.option("--unit", type=click.Choice(["auto", "percent", "fraction"]), default="auto", show_default=True)
@click.option("--format", "kind", type=click.Choice(["worklog", "csv", "jsonl", "tensorboard"]))
@click.option("--repository", default="", metavar="PLACE", help="Where FILE is from: github.com/OWNER/NAME.")
@click.option("--commit", default="", metavar="SHA", help="The commit of the repository.")
@click.option("--path", "place", default="", metavar="PATH", help="FILE's place in it; PATH/ of several.")
@click.option("--unfinished", is_flag=True, help="Keep runs that end before their row's last epoch.")
@click.option("--dry-run", is_flag=True, help="Only say what would be stored.")
@as_json
def log(  # noqa: PLR0913 - one per option
    path: str,
    *,
    top1: str,
    epoch: str,
    last: str,
    best: str,
    epochs: str,
    kind: str | None,
    place: str,
    renames: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **asked: Any,  # noqa: ANN401 - LogRequest's
) -> None:
    """Store the runs of authors' log FILEs beside ours.

    A worklog of mdistiller, timm's summary.csv, event files of TensorBoard, CSV or JSON lines.
    """
    from kdbench.importing.logs import LogRequest, describe, import_logs
    from kdbench.importing.logs_files import Columns
    from kdbench.machine import load_machine
    from kdbench.store.author_runs import author_runs_file, load_author_runs, save_author_runs
    from kdbench.suite.load import load_suite

    columns = Columns(top1=top1, epoch=epoch, last=last, best=best, epochs=epochs)
    request = LogRequest(
        columns=columns, kind=kind or "", path=place, renames=dict(_renames(renames)), **asked
    )
    suite, results = load_suite(path), load_machine().results
    found = import_logs(request, suite, load_author_runs(results, suite.name))
    if not dry_run:
        save_author_runs(results, found.runs)
    where = str(author_runs_file(results, suite.name))
    answer(found, lambda: describe(found, where, dry_run=dry_run), as_json=as_json)


def _renames(texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for text in texts:
        cell, equals, name = text.rpartition("=")
        if not equals or not cell:
            raise click.UsageError(
                f"--rename {text!r:.80}: write CELL=TEXT, for example --rename MN-V2=mobilenetv2"
            )
        yield cell, name
