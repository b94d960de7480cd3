"""`kdbench import`: other people's teachers."""

from __future__ import annotations

from pathlib import Path

import click

from kdbench.cli_options import as_json, say


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", required=True, metavar="NAME", help="The network that the weights are for.")
@click.option("--dataset", required=True, metavar="NAME", help="What it is to teach, with its label space.")
@click.option("--name", default="", help="How it is called from now on; else as the file.")
@click.option("--source", default="", metavar="TEXT", help="Where the file came from, for the passport.")
@click.option("--normalize", default="", metavar="NAME", help="The data set whose mean and std are used.")
@as_json
def import_(
    file: Path, *, model: str, dataset: str, name: str, source: str, normalize: str, as_json: bool
) -> None:
    """Make a teacher of a FILE of weights: PyTorch's state dict, safetensors, or MXNet's .params."""
    from kdbench.importing.passport import describe
    from kdbench.importing.teacher import Request, import_teacher
    from kdbench.machine import load_machine

    asked = Request(file=file, model=model, dataset=dataset, name=name, told=source, normalize=normalize)
    path, passport = import_teacher(asked, load_machine())
    if as_json:
        say(passport)
    else:
        click.echo(describe(passport, str(path)))
