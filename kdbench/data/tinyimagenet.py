"""Tiny-ImageNet (Stanford's CS231n): 200 classes of ImageNet at 64x64, read from its zip, never unpacked.

Its test images have no published labels, so everybody tests on its validation images, which
`val_annotations.txt` assigns to classes. The archive's md5 is the one that public loaders of it name.
"""

from collections.abc import Sequence
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from kdbench.data.archive import opened_zip
from kdbench.data.disk import Arrays
from kdbench.data.fetch import Fetcher, Official
from kdbench.data.images import as_text, decode, interleaved
from kdbench.errors import UserError

OFFICIAL = Official(
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    archive="tiny-imagenet-200.zip",
    md5="90528d7ca1a48142e341f4ef8d21d0de",
    limit=1 << 30,
)
ROOT = "tiny-imagenet-200"
SIDE = 64


def tinyimagenet(fetcher: Fetcher) -> Arrays:
    """100,000 training and 10,000 validation images of 200 classes, numbered by their sorted WordNet ids.

    Training images are stored classes taking turns, validation images in the order of their annotations.

    Raises:
        UserError: the archive is altered or cannot be had, or an image in it is damaged.
    """
    archive = fetcher.archive(OFFICIAL)
    with opened_zip(archive) as zipped:
        ids = sorted(_lines(zipped, "wnids.txt"))
        label = {name: number for number, name in enumerate(ids)}
        train, test = _training(zipped, label), _validation(zipped, label)
        words = dict(line.split("\t", 1) for line in _lines(zipped, "words.txt"))
        return {
            "train_images": _images(zipped, [name for name, _ in train]),
            "train_labels": np.array([of for _, of in train], np.int64),
            "test_images": _images(zipped, [name for name, _ in test]),
            "test_labels": np.array([of for _, of in test], np.int64),
            "names": as_text([f"{name} {words.get(name, '')}".strip() for name in ids]),
        }


def files(_pack: str) -> tuple[str, ...]:
    """What must lie below the place of the data."""
    return (OFFICIAL.archive,)


def sources(_pack: str) -> dict[str, str]:
    """The checksum of what the pack is made of."""
    return {OFFICIAL.archive: OFFICIAL.md5}


def _training(zipped: ZipFile, label: dict[str, int]) -> list[tuple[str, int]]:
    """`train/n01443537/images/n01443537_0.JPEG`, each with its class."""
    names = sorted(name for name in zipped.namelist() if _is_training_image(name))
    found = [(name, label[name.split("/")[2]]) for name in names]
    labels = [of for _, of in found]
    return [found[i] for i in interleaved(labels)]


def _is_training_image(name: str) -> bool:
    return name.startswith(f"{ROOT}/train/") and name.endswith(".JPEG")


def _validation(zipped: ZipFile, label: dict[str, int]) -> list[tuple[str, int]]:
    """Lines of `val_0.JPEG, n03444034, ...`, where commas are tabs; a bounding box follows."""
    annotations = (line.split("\t") for line in _lines(zipped, "val/val_annotations.txt"))
    return [(f"{ROOT}/val/images/{name}", label[of]) for name, of, *_ in annotations]


def _lines(zipped: ZipFile, name: str) -> list[str]:
    """The lines of a text of the archive."""
    return zipped.read(f"{ROOT}/{name}").decode().splitlines()


def _images(zipped: ZipFile, names: Sequence[str]) -> NDArray[np.uint8]:
    """uint8 (n, 3, 64, 64)."""
    images = np.empty((len(names), 3, SIDE, SIDE), np.uint8)
    for place, name in zip(images, names, strict=True):
        pixels = np.asarray(decode(zipped.read(name), name))
        if pixels.shape != (SIDE, SIDE, 3):
            raise UserError(f"{name}: {pixels.shape[1]}x{pixels.shape[0]} pixels, not {SIDE}x{SIDE}")
        place[:] = pixels.transpose(2, 0, 1)
    return images
