"""`kdbench new`: a package with a method of one's own, a suite."""

from __future__ import annotations

from pathlib import Path

import click

from kdbench.commands.options import CommandGroup
from kdbench.errors import UserError


@click.group(cls=CommandGroup)
def new() -> None:
    """Write a package for a method of your own, or a suite."""


@new.command("plugin")
@click.argument("name")
def new_plugin(name: str) -> None:
    """Write an installable package NAME: a loss, a model, a suite, and tests that pass at once."""
    from kdbench.new.plugin import write_plugin

    for path in write_plugin(name, Path()):
        click.echo(f"wrote {path}")
    click.echo(
        f"\nnext:\n  pip install -e '{name}[test]'\n  kdbench run {name}/suites/{name}_digits\n"
        f"then change {name}/{name}/losses.py"
    )


def check_dataset(_context: click.Context, _option: click.Parameter, name: str) -> str:
    """Refuse an unknown data set before the next question is asked.

    Raises:
        UserError: nothing has this name.
    """
    from kdbench import catalog

    try:
        catalog.find("datasets", name)
    except LookupError as error:
        raise UserError(f"--dataset: {error}") from error
    return name


@new.command("suite")
@click.argument("name")
@click.option("--paper", prompt="Which paper or method, a line of text (--paper)", help="What it is about.")
@click.option(
    "--dataset",
    prompt="Data set (--dataset)",
    default="digits",
    show_default=True,
    callback=check_dataset,
    help="Of `list datasets`.",
)
@click.option(
    "--students", prompt="Students, with commas (--students)", default="digits_mlp", help="Of `list models`."
)
@click.option(
    "--teachers", prompt="Teachers, with commas (--teachers)", default="digits_cnn", help="Of `list models`."
)
@click.option("--methods", prompt="Methods, with commas (--methods)", default="kd", help="Of `list losses`.")
def new_suite(name: str, *, paper: str, dataset: str, students: str, teachers: str, methods: str) -> None:
    """Write suites/NAME.toml, with comments; asks for what no option says."""
    from kdbench.new.suite import write_suite

    lists = [_names(text) for text in (students, teachers, methods)]
    path = write_suite(name, Path("suites"), paper, dataset, *lists)
    click.echo(f"wrote {path}\n\nnext:\n  kdbench plan suites/{name}\n  kdbench run suites/{name}")


def _names(text: str) -> list[str]:
    """`kd, lsr` as its names."""
    return [each.strip() for each in text.split(",") if each.strip()]
