"""Commands that hold results against other results, and hand them on to others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdbench.commands.options import (
    PARALLEL,
    PRECISIONS,
    Command,
    OutputPath,
    answer,
    as_json,
    as_variant,
    offline,
    say,
    seeds_of,
    selection,
)
from kdbench.formatting import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdbench.plan.selection import Selection
    from kdbench.spec.runs import Precision
    from kdbench.spec.suites import Variant


@click.command(cls=Command)
@click.argument("a")
@click.argument("b")
@selection
@click.option("--issue", "as_issue", is_flag=True, help="Print the regressions as the text of an issue.")
@click.option("--margin", type=float, help="Percentage points, instead of each row's tolerance.")
@click.option("--single-seed", is_flag=True, help="One seed outside its tolerance is a regression.")
@as_json
def compare(
    chosen: Selection,
    *,
    a: str,
    b: str,
    as_issue: bool,
    margin: float | None,
    single_seed: bool,
    as_json: bool,
) -> int:
    """Compare two sets of results, row by row.

    The rows of SUITE as B has them against the same rows as A has them, regressions first.

    A and B are results folders, commits of this repository, or the word `printed`.
    """
    from kdbench.evidence import compare as comparing

    found = comparing.compare_sources(a, b, chosen, margin=margin, single_seed=single_seed)
    if as_json:
        say(found)
    elif as_issue:
        click.echo(comparing.issue(found), nl=False)
    else:
        click.echo(columns(comparing.table(found), comparing.HEADS))
        click.echo(comparing.headline(found))
    return int(comparing.regressed(found))


@click.command(cls=Command)
@click.argument("row")
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@seeds_of("suite")
@as_variant
@as_json
def history(
    row: str, *, folders: tuple[Path, ...], seeds: Sequence[int] | None, variant: Variant, as_json: bool
) -> int:
    """What a ROW gave with each version of kdbench.

    And where that changed. A SUITE instead of a row: each of its rows. FOLDERS are further results, as of
    other nights.
    """
    from kdbench.evidence.history import describe_past, past

    found = past(row, variant, seeds=seeds, folders=folders)
    if as_json:
        versions = {}
        for name, each in found.items():
            versions[name] = [{"mean": point.mean, "point": point} for point in each.points]
            click.echo("".join(f"{name}: {problem}\n" for problem in each.damage), nl=False, err=True)
        say(versions.get(row, versions))
    else:
        click.echo("\n".join(describe_past(name, each) for name, each in found.items()))
    return int(any(each.damage for each in found.values()))


@click.command(cls=Command)
@selection
@click.option(
    "-o", "--output", type=OutputPath(), default="evidence.zip", show_default=True, help="A file to write."
)
def bundle(chosen: Selection, *, output: Path) -> None:
    """Write the evidence for SUITE into one file.

    It holds records, predictions, suites, digests and verdicts.
    """
    from kdbench.evidence import bundle as bundling

    made = bundling.bundle(chosen, output)
    for name in made.without:
        click.echo(f"without predictions: {name}", err=True)
    click.echo(f"{output}: {made.records} records, {made.size:,} bytes")


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def verify(bundle: Path, *, as_json: bool) -> int:
    """Judge a BUNDLE of evidence again.

    Every accuracy is computed from its predictions, every verdict from its records.
    """
    from kdbench.evidence import verify as verifying

    found = verifying.verify(bundle)
    answer(found, lambda: verifying.describe(bundle, found), as_json=as_json)
    return int(not found.sound)


@click.command(cls=Command)
@click.argument("row")
@seeds_of("row")
@click.option("--run", "train", is_flag=True, help="Train what is missing.")
@click.option("-j", "--jobs", type=PARALLEL, help="Runs at a time.")
@offline
@as_json
def attribute(
    row: str, *, seeds: Sequence[int] | None, train: bool, jobs: int | None, offline: bool, as_json: bool
) -> None:
    """How much each difference of code and paper changes a number.

    A delta of a ROW is a difference between its paper and the released code.
    """
    from kdbench.evidence.attribute import attribution, describe_attribution

    found, missing = attribution(row, seeds, train=train, workers=jobs, offline=offline)
    answer(found, lambda: describe_attribution(found, missing), as_json=as_json)


@click.command(cls=Command)
@click.option("--of", required=True, type=click.Choice(PRECISIONS[1:]), help="What is held against float32.")
@click.option("--row", required=True, metavar="ROW", help="The reference row, as `list rows` prints it.")
@click.option("--seeds", metavar="SEEDS", help="For example 0-4; instead of the suite's.")
@as_variant
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="For a trial: no verdict cites it."
)
@offline
@as_json
def equivalence(
    *,
    of: Precision,
    row: str,
    seeds: str | None,
    variant: Variant,
    settings: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> int:
    """Test whether a faster arithmetic may replace float32.

    A ROW is trained both ways over seeds; the paired test is kept, and verdicts cite it.
    """
    from kdbench.evidence import prove
    from kdbench.verdict.equivalence import describe

    record, path = prove.prove(of, row, variant, seeds=seeds, settings=settings, offline=offline)
    answer(record, lambda: [*describe(record), f"kept in {path}"], as_json=as_json)
    return int(not record.shown)
