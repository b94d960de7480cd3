"""`kdbench gc`, `fsck`, `fingerprint`: what can go, whether the rest is whole, what this machine computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.options import Command, answer, as_json, as_variant, complete_suite, say
from kdbench.errors import UserError, plain
from kdbench.formatting import columns, plural

if TYPE_CHECKING:
    from kdbench.spec.suites import Variant


@click.command(cls=Command)
@click.argument("suite", nargs=-1, shell_complete=complete_suite)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@as_json
def gc(suite: tuple[str, ...], *, dry_run: bool, as_json: bool) -> None:
    """Remove what no row needs.

    Weights nobody learns from, and what dead processes left.

    Every suite of suites/ counts, and each SUITE that is named, as printed and as released, with the seeds
    used so far. Results are never touched. Weights of runs made with --set or --smoke go; they can be made
    again.
    """
    from kdbench.machine import load_machine
    from kdbench.upkeep.gc import find_leftovers, load_suites, remove

    found = find_leftovers(load_suites(suite), load_machine())
    if not dry_run:
        remove(found)
    if as_json:
        say([{"path": str(each.path), "bytes": each.bytes, "why": each.why} for each in found])
        return
    for each in found:
        click.echo(f"{each.path}: {each.why} ({each.bytes:,} bytes)")
    total = sum(each.bytes for each in found)
    click.echo(f"{len(found)} {'would go' if dry_run else 'removed'}, {total / 1e6:,.1f} MB")


@click.command(cls=Command)
@as_json
def fsck(*, as_json: bool) -> int:
    """Check every stored file against its digest.

    And against its identity; exit with 1 if one is wrong, or a folder could not be looked into.
    """
    from collections import Counter

    from kdbench.machine import load_machine
    from kdbench.upkeep.fsck import examine

    found = list(examine(load_machine()))
    wrong = [each for each in found if each.problem]
    if as_json:
        say(found)
    else:
        for each in wrong:
            click.echo(plain(f"{each.kind} {each.path}: {each.problem}"))
        counts = Counter(each.kind for each in found if each.seen)
        named = {"imported": "imported teacher"}
        looked = [plural(number, named.get(kind, kind)) for kind, number in counts.items()]
        what = ", ".join(looked) or "nothing"
        unseen = sum(not each.seen for each in found)
        rest = f"; could not look into {plural(unseen, 'folder')}" if unseen else ""
        click.echo(f"looked at {what}; {len(wrong) - unseen} wrong{rest}")
    return int(bool(wrong))


@click.command(cls=Command)
@click.argument("row")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--deterministic", is_flag=True, help="On a GPU too.")
@as_variant
@as_json
def fingerprint(
    row: str, *, seed: int, steps: int, deterministic: bool, variant: Variant, as_json: bool
) -> None:
    """The digest of a ROW's weights after 20 steps.

    It is the same on two machines that compute the same.

    Nothing is stored, and no stored weights are needed: a teacher is what it is after as many steps.
    """
    from kdbench import catalog
    from kdbench.machine import load_machine
    from kdbench.plan.expand import expand
    from kdbench.plan.lookup import find_trained_row

    suite, cell = find_trained_row(row, variant)
    [cell] = expand(suite, variant=variant, rows=cell.row.name, seeds=[seed])
    compute = catalog.load("kdbench.training.fingerprint:compute")
    found = compute(cell.runs[0], load_machine(), steps, deterministic=deterministic)
    facts = {"run": cell.ids[0], "steps": steps, "fingerprint": found[0], **found[1]}
    known = [fact for fact in facts.items() if fact[1] is not None]
    answer(facts, lambda: columns(known, []), as_json=as_json)


@click.command(cls=Command)
@click.argument("dataset", nargs=-1, required=True)
def compact(dataset: tuple[str, ...]) -> None:
    """Put the results of each data set's like runs into one file.

    For results in git: one file of a megabyte instead of a thousand. They are read as before. Of losses six
    digits are kept; accuracies stay as they are.
    """
    from kdbench.machine import load_machine
    from kdbench.store.compact import compact as write_compact

    machine = load_machine()
    there = sorted(each.name for each in machine.results.glob("*") if each.is_dir())
    for name in dataset:
        folder = machine.results / name
        if name not in there:  # nor a path that leads elsewhere
            raise UserError(f"{folder}: no such folder of results; there are: {', '.join(there) or 'none'}")
        written = write_compact(folder, machine.scratch / "locks" / f"{name}.compact")
        if not written:
            click.echo(f"{folder}: no results to put into one file")
        for file, runs in written.items():
            click.echo(f"{file}: {plural(runs, 'more result')}, {file.stat().st_size / 1e6:.2f} MB")
