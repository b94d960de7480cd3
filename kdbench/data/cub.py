"""CUB-200-2011 (Wah et al., Caltech, 2011): 200 kinds of birds, the official split.

The archive's address is Caltech's; its md5 is the one that public loaders of it name.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdbench.data.disk import Arrays
from kdbench.data.fetch import Fetcher, Official
from kdbench.data.neighbours import CUB200
from kdbench.data.shards import Listing, Split, pack_shards, stored
from kdbench.errors import UserError

OFFICIAL = Official(
    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    archive="CUB_200_2011.tgz",
    md5="97eceeb196236b17998738112f37df78",
    limit=1 << 32,
)
ROOT = "CUB_200_2011"
LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def cub200(fetcher: Fetcher) -> Arrays:
    """5,994 training and 5,794 test images of 200 classes, classes taking turns.

    Raises:
        UserError: the archive is altered or cannot be had, or an image in it is damaged.
    """
    with fetcher.unpacked([OFFICIAL], "cub200", _wanted) as folder:
        paths, labels, training, names = (_column(folder / ROOT / name) for name in LISTS)
        if names != CUB200:
            raise UserError(f"{OFFICIAL.archive}: its classes.txt names other classes than CUB-200-2011 has")
        label = np.array(labels, np.int64) - 1
        train = np.array(training) == "1"
        splits: dict[Split, Listing] = {
            "train": _listing(paths, label, np.flatnonzero(train)),
            "test": _listing(paths, label, np.flatnonzero(~train)),
        }
        return pack_shards("cub200", folder / ROOT / "images", splits, names, fetcher)


def files(_pack: str) -> tuple[str, ...]:
    """What must lie below the place of the data."""
    return (OFFICIAL.archive,)


def sources(_pack: str) -> dict[str, str]:
    """The checksum of what the pack is made of, and how that is stored."""
    return {OFFICIAL.archive: OFFICIAL.md5, **stored()}


def _wanted(name: str) -> bool:
    return name.startswith(f"{ROOT}/images/") or name in {f"{ROOT}/{each}" for each in LISTS}


def _listing(paths: tuple[str, ...], label: NDArray[np.int64], chosen: NDArray[np.int64]) -> Listing:
    return Listing(tuple(paths[i] for i in chosen), label[chosen]).interleaved()


def _column(file: Path) -> tuple[str, ...]:
    """What a list says of each image or class; its lines, `1 001.Black_footed_Albatross`, are numbered."""
    return tuple(line.split()[1] for line in file.read_text(encoding="utf-8").splitlines())
