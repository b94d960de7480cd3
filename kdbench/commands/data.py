"""`kdbench data`: the data sets on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.options import CommandGroup, answer, as_json, offline
from kdbench.formatting import columns

if TYPE_CHECKING:
    from pathlib import Path

    from kdbench.data.fetch import Fetcher


@click.group(cls=CommandGroup)
def data() -> None:
    """The data sets on this machine."""


@data.command("list")
@as_json
def data_list(*, as_json: bool) -> None:
    """Each data set and what of it is here."""
    from kdbench.data.place import check_place, list_datasets

    folder = _data_folder()
    rows = list_datasets(folder)
    check_place(folder)
    cells = []
    for row in rows:
        counts = (row.classes, f"{row.train:,}", f"{row.test:,}")
        cells.append((row.name, *counts, row.state, f"{row.bytes / 1e6:,.1f} MB", row.held_by, row.content))
    titles = ["data set", "classes", "train", "test", "here", "on disk", "held by", "content"]
    answer(rows, lambda: columns(cells, titles), as_json=as_json)


@data.command("fetch")
@click.argument("name", nargs=-1, required=True)
@offline
def data_fetch(name: tuple[str, ...], *, offline: bool) -> None:
    """Fetch data sets, verify them and pack them."""
    from kdbench.data.place import fetch_dataset

    fetcher = _fetcher(offline=offline)
    for each in name:
        click.echo(f"{each}: {fetch_dataset(each, fetcher)}")


@data.command("verify")
@click.argument("name", nargs=-1, required=True)
def data_verify(name: tuple[str, ...]) -> None:
    """Hold packed data sets against their digests."""
    from kdbench.data.place import verify_dataset

    for each in name:
        click.echo(verify_dataset(each, _data_folder()))


@data.command("neighbours")
@click.argument("name")
@as_json
def data_neighbours(name: str, *, as_json: bool) -> None:
    """Which classes are near each other.

    As anisotropic losses have it, and the digest of that.
    """
    from kdbench.catalog import load

    found = load("kdbench.data.neighbours:described")(name)
    rows = [(each, ", ".join(near)) for each, near in found["neighbours"].items()]
    lines = (columns(rows, ["class", "near"]), f"sha256 {found['sha256']}")
    answer(found, lambda: lines, as_json=as_json)


@data.command("weights")
@click.argument("name")
@offline
def data_weights(name: str, *, offline: bool) -> None:
    """Fetch published weights, and print how a row names them.

    For example timm/resnet50.a1_in1k.
    """
    from kdbench.data.weights import fetched
    from kdbench.store.files import digest

    file = fetched(name, "", _fetcher(offline=offline))
    click.echo(f'weights = "{name}@{digest(file)}"\n{file}')


@data.command("where")
def data_where() -> None:
    """The folder that data sets lie in, and what named it."""
    from kdbench.data.place import where
    from kdbench.machine import load_machine

    place = where(load_machine().data_folder)
    click.echo(f"{place.path} ({place.by})")


def _data_folder() -> Path:
    from kdbench.data.place import where
    from kdbench.machine import load_machine

    return where(load_machine().data_folder).path


def _fetcher(*, offline: bool) -> Fetcher:
    """What fetches, and shows how far it is; `offline`: whatever benchmark.toml says."""
    from kdbench.data.place import fetcher_of
    from kdbench.run.preflight import this_machine

    return fetcher_of(this_machine(offline=offline), progress=True)
