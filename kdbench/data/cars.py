"""Stanford Cars (Krause et al., 2013): 196 makes and models, the official split.

Its authors' addresses are gone: the files come from a mirror or are put in place by hand. Their md5s are
those that torchvision's StanfordCars named as long as it could fetch them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.data.fetch import Fetcher, Official
from kdbench.data.shards import Listing, Split, pack_shards, stored

if TYPE_CHECKING:
    from kdbench.data.disk import Arrays


DEVKIT = Official(archive="car_devkit.tgz", md5="c3b158d763b6e2245038c8ad08e45376")
TRAIN = Official(archive="cars_train.tgz", md5="065e5b463ae28d29e77c1b4b166cfe61", limit=1 << 31)
TEST = Official(archive="cars_test.tgz", md5="4ce7ebf6a94d07f1952d94dd34c4d501", limit=1 << 31)
ANSWERS = Official(archive="cars_test_annos_withlabels.mat", md5="b0a2b23655a3edd16d84508592a98d10")
"""The classes of the test images, which the development kit leaves out."""


def cars(fetcher: Fetcher) -> "Arrays":
    """8,144 training and 8,041 test images of 196 classes, classes taking turns.

    Raises:
        UserError: a file is altered or cannot be had, or an image is damaged.
    """
    with fetcher.unpacked([DEVKIT, TRAIN, TEST], "cars", _wanted, [ANSWERS]) as folder:
        splits: dict[Split, Listing] = {
            "train": _listing(folder / "devkit" / "cars_train_annos.mat", "cars_train"),
            "test": _listing(fetcher.place / ANSWERS.archive, "cars_test"),
        }
        names = [str(name) for name in _mat(folder / "devkit" / "cars_meta.mat")["class_names"]]
        return pack_shards("cars", folder, splits, names, fetcher)


def files(_pack: str) -> tuple[str, ...]:
    """What must lie below the place of the data."""
    return tuple(each.archive for each in (DEVKIT, TRAIN, TEST, ANSWERS))


def sources(_pack: str) -> dict[str, str]:
    """The checksums of what the pack is made of, and how that is stored."""
    return {each.archive: each.md5 for each in (DEVKIT, TRAIN, TEST, ANSWERS)} | stored()


def _wanted(name: str) -> bool:
    return name.endswith((".jpg", ".mat"))


def _listing(annotations: Path, images: str) -> Listing:
    """The images that a MATLAB file annotates, with their classes, which it counts from 1."""
    found = _mat(annotations)["annotations"]
    paths = tuple(f"{images}/{each['fname']}" for each in found)
    return Listing(paths, np.array([each["class"] for each in found], np.int64) - 1).interleaved()


def _mat(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    found: dict[str, Any] = loadmat(file, squeeze_me=True)
    return found
