"""`kdbench doctor`, `bench` and `completion`: this machine, a cluster, a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.options import PRECISIONS, Command, answer, as_json, as_variant, on_where
from kdbench.formatting import columns

if TYPE_CHECKING:
    from kdbench.spec.runs import Precision
    from kdbench.spec.suites import Variant


@click.command(cls=Command)
@on_where
def doctor(*, on: str) -> int:
    """Check that this machine, or a cluster, can train.

    And say what to fix.
    """
    from kdbench.upkeep import doctor as local

    if on == "local":
        found = local.examine()
    else:
        from kdbench.cluster import commands
        from kdbench.upkeep import cluster_doctor

        found = cluster_doctor.examine(commands.profile_of(on))
    click.echo(columns([("ok" if each.ok else "FAIL", each.what, each.found) for each in found], []))
    return int(not all(each.ok for each in found))


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion.

    For example: eval "$(kdbench completion bash)".
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    root = click.get_current_context().find_root()
    if kind is not None:
        click.echo(kind(root.command, {}, "kdbench", "_KDBENCH_COMPLETE").source())


@click.command(cls=Command)
@click.argument("target", nargs=-1, required=True, metavar="ROW|SUITE...")
@as_variant
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True)
@as_json
def bench(target: tuple[str, ...], *, variant: Variant, precision: Precision, as_json: bool) -> None:
    """Measure how fast this machine trains rows.

    Data path, step and evaluation, against the roofline; `plan` then knows their hours.
    """
    from kdbench.machine import load_machine
    from kdbench.run import bench as benching

    runs = benching.find_runs(target, variant, precision)
    record, path = benching.bench(runs, load_machine(), lambda name: click.echo(f"measured {name}", err=True))
    lines = (*benching.describe_device(record), "", benching.describe(record), "", f"kept in {path}")
    answer(record, lambda: lines, as_json=as_json)
