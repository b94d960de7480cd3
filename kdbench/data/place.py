"""Where the data lie, and what the command line's `kdbench data` does with them. Imports no torch."""

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from kdbench import catalog
from kdbench.data import packed
from kdbench.data.fetch import Fetcher
from kdbench.errors import PluginWarning, UserError
from kdbench.machine import Machine, link_to_nowhere
from kdbench.plugins import BrokenPluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


State = Literal["packed", "fetched", "missing", "generated"]
"""What of a data set is here."""
DATA = "KDBENCH_DATA"
"""The environment variable that names the folder of the data."""


class Place(Struct, frozen=True):
    """The folder of the data, and who named it."""

    path: Path
    by: str


class DatasetRow(Struct, frozen=True):
    """A data set of the catalog and what of it is here."""

    name: str
    classes: int
    train: int
    test: int
    state: State
    bytes: int
    """On disk: of the packed file and its shards, or of the official files."""
    held_by: str
    """What the official files are held by: checksums, or their number."""
    content: str = ""
    """The first digits of the content digest, where it is packed."""


def where(named: Path | None = None) -> Place:
    """The folder of the data: the one named (in benchmark.toml), else KDBENCH_DATA, else the user's cache.

    Raises:
        UserError: KDBENCH_DATA names a link to what is not there, a file, or a folder that cannot be made.
    """
    if named is not None:
        return Place(named.expanduser(), "benchmark.toml")
    if named_by_variable := os.environ.get(DATA):  # an empty one is none, not the current folder
        path = Path(named_by_variable).expanduser()
        if problem := link_to_nowhere(path) or _not_a_folder(path):
            raise UserError(f"{DATA}: {problem}")
        return Place(path, DATA if path.is_dir() else f"{DATA}; it is not there yet")
    from platformdirs import user_cache_path

    empty = f"; {DATA} is empty" if DATA in os.environ else ""
    return Place(user_cache_path("kdbench") / "data", f"the user's cache folder{empty}")


def _not_a_folder(path: Path) -> str:
    """The sentence on a path that is no folder, and can become none by making it alone; "" of any other."""
    if path.is_dir() or (not path.exists() and path.parent.is_dir()):
        return ""
    if path.exists():
        return f"{path} is a file; name a folder"
    what = f"{path} is not there, nor is the folder above it; is it mistyped, or a disk that is not mounted?"
    return f"{what} `mkdir -p {path}` makes it"


def list_datasets(place: Path) -> list[DatasetRow]:
    """Every data set of the catalog, in its order; one of a package that is broken is warned of."""
    found = []
    for name in catalog.entries("datasets"):
        try:
            found.append(look_up(name, place))
        except BrokenPluginError as error:
            warnings.warn(str(error), PluginWarning, stacklevel=2)
    return found


def check_place(place: Path) -> None:
    """Refuse a place in which a data set is missing because it is that data set's own folder.

    Raises:
        UserError: it is.
    """
    for name in catalog.entries("datasets"):
        with suppress(BrokenPluginError), catalog.naming_package("datasets", name):
            packed.check_place(packed.entry(name), place)


def fetcher_of(machine: Machine, *, progress: bool = False) -> Fetcher:
    """Where a machine's data and published weights lie, and whether and whence they may be fetched."""
    data = machine.data
    place = where(machine.data_folder).path
    return Fetcher(place=place, offline=data.offline, progress=progress, mirrors=data.mirrors)


def fetch_dataset(name: str, fetcher: Fetcher) -> Path:
    """Fetch and pack a data set unless it is here, verify it, and give its packed file.

    Raises:
        UserError: it cannot be had, or a file is damaged or altered.
    """
    _check_lies_somewhere(name)
    packed.open_dataset(name, fetcher)
    return packed.paths(fetcher.place, packed.entry(name).pack)[0]


def verify_dataset(name: str, place: Path) -> str:
    """One line on a packed file that is as it should be.

    Raises:
        UserError: it is damaged or altered, or not here.
    """
    _check_lies_somewhere(name)
    found = packed.entry(name)
    file = packed.paths(place, found.pack)[0]
    if not packed.is_packed(place, found.pack):
        raise UserError(f"{name} is not packed in {place}. Run `kdbench data fetch {name}`.")
    tensors, content = packed.read(found, place)
    if found.varied:
        _verify_shards(found.pack, place, tensors)
    pinned = "as pinned" if found.pack in packed.CONTENT else "as packed from the official files"
    return f"{name}: {file}: {found.train:,} + {found.test:,} images, content {content[:12]}, {pinned}"


def _check_lies_somewhere(name: str) -> None:
    if packed.entry(name).generated:
        raise UserError(f"{name} is generated for each seed as it is trained on: nothing of it is fetched")


def _verify_shards(pack: str, place: Path, tensors: "Mapping[str, Tensor]") -> None:
    from kdbench.data import shards

    for split in ("train", "test"):
        shards.verify(place, pack, split, tensors[f"{split}_shards"].numpy())


def look_up(name: str, place: Path) -> DatasetRow:
    """A data set as it lies in this folder: packed, with its official files, or missing.

    Raises:
        BrokenPluginError: it is a package's, whose code fails.
    """
    found = packed.entry(name)
    file, beside_it = packed.paths(place, found.pack)
    here: list[Path] = []
    state: State
    if found.generated:
        state = "generated"
    elif packed.is_packed(place, found.pack):
        state = "packed"
        here = [file, beside_it, *place.glob(f"{file.stem}/*.safetensors")]
    else:
        with catalog.naming_package("datasets", name):
            here = packed.present(found, place)
        state = "fetched" if here else "missing"
    size = sum(path.stat().st_size for path in here if path.is_file())
    content = packed.recorded(place, found.pack)[:12] if state == "packed" else ""
    return DatasetRow(
        name=name,
        classes=found.classes,
        train=found.train,
        test=found.test,
        state=state,
        bytes=size,
        held_by=found.held_by,
        content=content,
    )
