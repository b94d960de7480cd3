"""`kdbench import`: other people's teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdbench.commands.options import as_json, say


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", required=True, metavar="NAME", help="The network that the weights are for.")
@click.option("--dataset", required=True, metavar="NAME", help="What it is to teach, with its label space.")
@click.option("--name", default="", help="How it is called from now on; else as the file.")
@click.option("--source", default="", metavar="TEXT", help="Where the file came from, for its record.")
@click.option("--normalize", default="", metavar="NAME", help="The data set whose mean and std are used.")
@click.option("--size", type=click.IntRange(min=0), default=0, help="The side of the images that it sees.")
@click.option("--resize", type=click.IntRange(min=0), default=0, help="Their shorter side before that.")
@as_json
def import_(file: Path, *, source: str, as_json: bool, **asked: Any) -> None:  # noqa: ANN401 - Request's
    """Make a teacher of a FILE of weights.

    PyTorch's state dict, safetensors, or MXNet's .params.
    """
    from kdbench.importing.teacher import Request, import_teacher
    from kdbench.machine import load_machine
    from kdbench.store.provenance import describe

    path, provenance = import_teacher(Request(file=file, told=source, **asked), load_machine())
    if as_json:
        say(provenance)
    else:
        click.echo(describe(provenance, str(path)))
