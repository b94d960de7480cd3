"""The packed file of a data set: one safetensors file, its digest beside it, verified on every opening."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import DecodeError, Struct, json
from numpy.typing import NDArray

from kdbench import catalog
from kdbench.data.disk import Arrays, locked, write_whole
from kdbench.data.fetch import Fetcher
from kdbench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from kdbench.data.shards import Images

LAYOUT = 1
"""The version of the packed file's form. Raised whenever the form changes: part of every digest."""

CONTENT = {
    "mnist": "73550b3ab2f33b5f0a49e18965dd7d09187e8917101305b4189a3200350d17ad",
    "mnist_7x7": "39da29cb8abc180358f0b5ee3ea672126e70f7f879ac3968304dff939da6f7b4",
    "digits": "17140c6de8859627c29aa989a871ff797c7f099bf19db2ef70174640ad4b55f6",
    "cifar100": "6aa2d9990d81e3363db3ac69b29171d2e4369b96359a9bcec4cdc07e0d3df764",
}
"""The content digest of each pack that could be measured, from the official files (tests/data/test_cifar.py).

CIFAR-10 could not be: its content is held by the md5 of its official files alone.
"""


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """What lies beside a packed file. Written last: without it there is no packed file."""

    layout: int
    pack: str
    digest: str
    """`source_digest` of what it was packed from."""
    sources: dict[str, str]
    content: str
    """`content_digest` of its tensors."""


@dataclass(frozen=True)
class Dataset:
    """A data set, opened and verified. The tensors are mapped from the file: not to be written to."""

    name: str
    train_images: Any
    """A uint8 tensor (N, C, H, W), or, of many sizes, `kdbench.data.shards.Images`."""
    train_labels: "Tensor"
    test_images: Any
    test_labels: "Tensor"
    classes: int
    content: str
    names: tuple[str, ...] = ()
    """The classes', in the order of the labels, where the packed file has them."""


def open_dataset(name: str, fetcher: Fetcher) -> Dataset:
    """A data set of the catalog: fetched and packed where it is not yet, verified in any case.

    Raises:
        UserError: it cannot be had, or a file is damaged or altered; says which, and what to do.
    """
    found, place = entry(name), fetcher.place
    if not is_packed(place, found.pack):
        with locked(place, found.pack):  # another process may have packed it while this one waited
            if not is_packed(place, found.pack):
                with catalog.naming_package("datasets", name):
                    pack(found, fetcher)
    tensors, content = read(found, place)
    return Dataset(
        name=name,
        train_images=_images(found, place, "train", tensors),
        train_labels=tensors[f"train_{found.labels}"],
        test_images=_images(found, place, "test", tensors),
        test_labels=tensors[f"test_{found.labels}"],
        classes=found.classes,
        content=content,
        names=tuple(bytes(tensors["names"].numpy()).decode().split("\n")) if "names" in tensors else (),
    )


def _images(
    found: catalog.DatasetEntry, place: Path, split: Literal["train", "test"], tensors: "Mapping[str, Tensor]"
) -> "Tensor | Images":
    if not found.varied:
        return tensors[f"{split}_images"]
    from kdbench.data.shards import Images

    return Images(place, found.pack, split, tensors[f"{split}_sizes"].numpy())


def entry(name: str) -> catalog.DatasetEntry:
    """The catalog's entry.

    Raises:
        UserError: there is no such data set.
    """
    try:
        return catalog.find("datasets", name)
    except LookupError as error:
        raise UserError(str(error.args[0])) from error


def beside(code: str, name: str) -> Callable[[str], Any]:
    """A function that stands in the module of a data set's code: `files` or `sources`, of a pack's name."""
    return catalog.load(f"{code.partition(':')[0]}:{name}")


def present(found: catalog.DatasetEntry, place: Path) -> list[Path]:
    """The official files of a data set that lie here, as any of its forms; none where no form is whole."""
    for form in _forms(found):
        paths = [place / name for name in form]
        if paths and all(path.exists() for path in paths):
            return paths
    return []


def _forms(found: catalog.DatasetEntry) -> list[tuple[str, ...]]:
    """What a data set is packed from, by name below the place of the data, in each form that serves.

    A module says in `files` what is looked for, and may say in `other_files` what serves in its place.
    """
    files = beside(found.code, "files")(found.pack)
    try:
        others = beside(found.code, "other_files")
    except AttributeError:
        return [files]
    return [files, *others(found.pack)]


def check_place(found: catalog.DatasetEntry, place: Path) -> None:
    """Refuse a place that is the data set's own folder: its files are looked for one folder above.

    Raises:
        UserError: it is.
    """
    here = place.resolve()
    if not present(found, place) and (own := _own_folder(found, here)):
        raise UserError(
            f"{place}: this is the data set's own folder ({own}); name the one above, {here.parent}, in "
            f"KDBENCH_DATA or as `folder` under [data] in benchmark.toml"
        )


def _own_folder(found: catalog.DatasetEntry, here: Path) -> str:
    """The data set's folder that this one is, by an official file in it or by its name; "" if it is none."""
    files, *others = _forms(found)
    for name in files:
        folder, *inside = Path(name).parts
        if inside and here.joinpath(*inside).is_file():
            return folder
    for form in (files, *others):
        below = [name for name in form if Path(name).parts[0] == here.name]
        if below and all((here.parent / name).exists() for name in below):
            return here.name
    return ""


def paths(place: Path, pack: str) -> tuple[Path, Path]:
    """Where a packed file and its record lie."""
    stem = f"{pack}.v{LAYOUT}"
    return place / f"{stem}.safetensors", place / f"{stem}.json"


def is_packed(place: Path, pack: str) -> bool:
    """Whether a packed file is there; says nothing about its being whole."""
    return all(path.exists() for path in paths(place, pack))


def recorded(place: Path, pack: str) -> str:
    """The content digest that stands beside a packed file; "" where that cannot be read."""
    try:
        return json.decode(paths(place, pack)[1].read_bytes(), type=Record).content
    except (OSError, DecodeError):
        return ""


def pack(found: catalog.DatasetEntry, fetcher: Fetcher) -> None:
    """Write the packed file and its record from the official files.

    Raises:
        UserError: the official files cannot be had, or give something else than the catalog says.
    """
    from safetensors.numpy import save

    check_place(found, fetcher.place)
    arrays: Arrays = catalog.load(found.code)(fetcher)
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    check_form(found, arrays)
    content = content_digest(arrays)
    if content != CONTENT.get(found.pack, content):
        raise UserError(
            f"{found.pack}: verified sources were packed to {content} instead of {CONTENT[found.pack]}: "
            "numpy or kdbench reads them differently. Install the numpy that kdbench was tested with (2.4)."
        )
    file, beside_it = paths(fetcher.place, found.pack)
    sources = beside(found.code, "sources")(found.pack)
    record = Record(LAYOUT, found.pack, digest(sources), sources, content)
    write_whole(file, save(arrays))
    write_whole(beside_it, json.format(json.encode(record)) + b"\n")


def read(found: catalog.DatasetEntry, place: Path) -> tuple[dict[str, "Tensor"], str]:
    """The tensors of a packed file, mapped into memory, and their content digest.

    Raises:
        UserError: the file or its record is damaged or altered, or was packed from something else.
    """
    from safetensors import SafetensorError, safe_open

    file, beside_it = paths(place, found.pack)
    try:
        record = json.decode(beside_it.read_bytes(), type=Record)
        with safe_open(file, framework="pt") as packed:
            tensors = {name: packed.get_tensor(name) for name in sorted(packed.keys())}
    except (OSError, SafetensorError, DecodeError) as error:
        raise UserError(_refusal(found.pack, place, f"it cannot be read ({error})")) from error
    if record.digest != found.digest:
        raise UserError(_refusal(found.pack, place, f"it was packed from {record.sources}"))
    content = content_digest({name: tensor.numpy() for name, tensor in tensors.items()})
    if content != CONTENT.get(found.pack, record.content) or content != record.content:
        raise UserError(_refusal(found.pack, place, f"its content is {content}, not {record.content}"))
    return tensors, content


def check_form(found: catalog.DatasetEntry, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Hold what a data set's code gives against the catalog.

    Raises:
        UserError: number, shape, type or range differ; every difference at once.
    """
    image = (found.channels, found.size, found.size)
    problems = []
    for split, n in (("train", found.train), ("test", found.test)):
        labels = arrays[f"{split}_{found.labels}"]
        if found.varied:
            problems += _mismatch(f"{split}_sizes", arrays[f"{split}_sizes"], f"int32 {(n, 2)}")
        else:
            problems += _mismatch(f"{split}_images", arrays[f"{split}_images"], f"uint8 {(n, *image)}")
        problems += _mismatch(f"{split}_{found.labels}", labels, f"int64 {(n,)}")
        if labels.size and not 0 <= labels.min() <= labels.max() < found.classes:
            problems.append(f"{split}_{found.labels}: not all within 0 .. {found.classes - 1}")
    if problems:
        raise UserError(*(f"{found.pack}: {problem}" for problem in problems))


def content_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The sha256 over name, type, shape and bytes of each array, by name."""
    total = sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def source_digest(found: catalog.DatasetEntry) -> str:
    """What a data set is made of: the sha256 of the layout's version and its sources' checksums.

    Known before anything is fetched; `DatasetEntry.digest` must be this.
    """
    return digest(beside(found.code, "sources")(found.pack))


def digest(sources: Mapping[str, str]) -> str:
    """The sha256 of the layout's version and of (name, checksum), by name."""
    return sha256(json.encode([LAYOUT, sorted(sources.items())])).hexdigest()


def _mismatch(name: str, array: NDArray[Any], valid: str) -> list[str]:
    came = f"{array.dtype} {array.shape}"
    return [] if came == valid else [f"{name}: {came}, not {valid}"]


def _refusal(pack: str, place: Path, why: str) -> str:
    file, beside_it = paths(place, pack)
    return f"{file}: refused, {why}. Delete it and {beside_it.name}; it is then packed again."
