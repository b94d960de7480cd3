"""ImageNet (ILSVRC 2012) from a local folder in the usual layout; it may not be passed on, nor fetched.

    imagenet/train/n01440764/*.JPEG    1,281,167 images in 1,000 folders
    imagenet/val/n01440764/*.JPEG         50,000 images in the same folders

Files are held by their number, not by a checksum: the md5s in `sources` are those of the archives that such
a folder is unpacked from, as torchvision's ImageNet names them. The content digest, in every result, tells
copies apart.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kdbench import catalog
from kdbench.data.fetch import Fetcher
from kdbench.data.shards import Listing, Split, pack_shards, stored
from kdbench.errors import UserError

if TYPE_CHECKING:
    from kdbench.data.disk import Arrays


FOLDER = "imagenet"
ARCHIVES = {
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
}
FOLDERS: tuple[tuple[Split, str], ...] = (("train", "train"), ("test", "val"))


def imagenet(fetcher: Fetcher) -> "Arrays":
    """1,281,167 training and 50,000 validation images of 1,000 classes, classes taking turns.

    Classes are numbered by their sorted WordNet ids.

    Raises:
        UserError: the folder is not there or has not these images; says where to put what.
    """
    place = fetcher.place / FOLDER
    ids = sorted(_folders(place / "train"))
    splits: dict[Split, Listing] = {split: _listing(place, name, ids) for split, name in FOLDERS}
    problems = [*_counts(place, splits, ids)]
    if problems:
        raise UserError(*problems, _where(place))
    return pack_shards("imagenet", place, splits, ids, fetcher)


def files(_pack: str) -> tuple[str, ...]:
    """What must lie below the place of the data."""
    return tuple(f"{FOLDER}/{name}" for _, name in FOLDERS)


def sources(_pack: str) -> dict[str, str]:
    """The checksums of the archives that the folder is unpacked from, and how the images are stored."""
    return ARCHIVES | stored()


def _folders(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.is_dir()] if place.is_dir() else []


def _listing(place: Path, name: str, ids: list[str]) -> Listing:
    """The images of a split; a folder that is no training class has none."""
    paths = [
        (f"{name}/{each}/{file.name}", label)
        for label, each in enumerate(ids)
        if (place / name / each).is_dir()
        for file in sorted((place / name / each).iterdir())
        if file.suffix.upper() in (".JPEG", ".JPG")
    ]
    labels = np.array([label for _, label in paths], np.int64)
    return Listing(tuple(path for path, _ in paths), labels).interleaved()


def _counts(place: Path, splits: dict[Split, Listing], ids: list[str]) -> list[str]:
    """What has not the number that ILSVRC 2012 has."""
    entry, problems = catalog.DATASETS["imagenet"], []
    for split, name in FOLDERS:
        images, folders = len(splits[split].files), len(_folders(place / name))
        there, known = f"{images:,} images in {folders:,} folders", getattr(entry, split)
        if (images, folders) != (known, entry.classes):
            problems.append(f"{place / name}: {there}, not {known:,} in {entry.classes:,}")
    strange = sorted(set(_folders(place / "val")) - set(ids))
    return problems + [f"{place / 'val'}: {name} is no folder of train" for name in strange[:3]]


def _where(place: Path) -> str:
    return (
        f"ImageNet may not be passed on, so it is not fetched: get {' and '.join(ARCHIVES)} from "
        f"image-net.org and unpack them, or make a link, so that images lie at "
        f"{place}/train/n01440764/*.JPEG and {place}/val/n01440764/*.JPEG"
    )
