"""Stanford Cars (Krause et al., 2013): 196 makes and models, the official split.

Its authors' addresses are gone: the files come from a mirror or are put in place by hand. Their md5s are
those that torchvision's StanfordCars named as long as it could fetch them.

Where the archives are not there, the folders in circulation serve, as `cars/`, `stanford_cars/` or the data
folder itself. Such files are held by their number; the content digest, in every result, distinguishes copies.

    cars_train/*.jpg, cars_test/*.jpg    or a folder of that name in each; MATLAB lists beside or in devkit/
    car_ims/*.jpg                        all images, and cars_annos.mat, which says which are for testing
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kdbench.data.disk import Arrays
from kdbench.data.fetch import Fetcher, Official
from kdbench.data.shards import Listing, Split, pack_shards, stored
from kdbench.errors import UserError

DEVKIT = Official(archive="car_devkit.tgz", md5="c3b158d763b6e2245038c8ad08e45376")
TRAIN = Official(archive="cars_train.tgz", md5="065e5b463ae28d29e77c1b4b166cfe61", limit=1 << 31)
TEST = Official(archive="cars_test.tgz", md5="4ce7ebf6a94d07f1952d94dd34c4d501", limit=1 << 31)
ANSWERS = Official(archive="cars_test_annos_withlabels.mat", md5="b0a2b23655a3edd16d84508592a98d10")
"""The classes of the test images, which the development kit leaves out."""


LISTS = ("cars_train_annos.mat", ANSWERS.archive, "cars_meta.mat")
FLAT_LIST = "cars_annos.mat"
LAYOUTS = (("cars_train", "cars_test"), ("car_ims",))
"""The folders of images of either form."""
FOLDERS = ("cars", "stanford_cars", ".")
"""Below the place of the data: where the folder in circulation is looked for."""


def cars(fetcher: Fetcher) -> Arrays:
    """8,144 training and 8,041 test images of 196 classes, classes taking turns.

    Raises:
        UserError: a file is altered or cannot be had, or an image is damaged.
    """
    place = fetcher.place
    archives = [place / each.archive for each in (DEVKIT, TRAIN, TEST)]
    if not all(archive.exists() for archive in archives):
        for root, images in _folders_in_circulation():
            if all((place / name).is_dir() for name in images):
                return _pack_folder(place / root, fetcher, flat=len(images) == 1)
    with fetcher.unpacked([DEVKIT, TRAIN, TEST], "cars", _wanted, [ANSWERS]) as folder:
        devkit = folder / "devkit"
        return _pack(folder, [devkit / LISTS[0], fetcher.place / LISTS[1], devkit / LISTS[2]], fetcher)


def _pack(folder: Path, lists: list[Path], fetcher: Fetcher) -> Arrays:
    """The images of a folder, by its lists of the training images, the test images and the classes."""
    train, test, meta = lists
    splits: dict[Split, Listing] = {
        "train": _listing(train, folder, "cars_train"),
        "test": _listing(test, folder, "cars_test"),
    }
    return pack_shards("cars", folder, splits, _names(meta), fetcher)


def _names(file: Path) -> list[str]:
    """The classes' names, of a MATLAB file that has them.

    Raises:
        UserError: it has none.
    """
    found = _mat(file)
    if "class_names" not in found:
        raise UserError(f"{file}: no class_names in it; get it again")
    return [str(name) for name in found["class_names"]]


def _pack_folder(folder: Path, fetcher: Fetcher, *, flat: bool) -> Arrays:
    """A folder in circulation: training and test images apart, or (flat) all in one."""
    if not flat:
        return _pack(folder, [_find(folder, name) for name in LISTS], fetcher)
    annotations = _find(folder, FLAT_LIST)
    splits: dict[Split, Listing] = {
        "train": _listing(annotations, folder, "car_ims", test=0),
        "test": _listing(annotations, folder, "car_ims", test=1),
    }
    return pack_shards("cars", folder, splits, _names(annotations), fetcher)


def _folders_in_circulation() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where folders in circulation may lie: the folder, and those of images in it, below the data's place."""
    for layout in LAYOUTS:
        for root in FOLDERS:
            yield root, tuple(str(PurePosixPath(root, name)) for name in layout)


def _find(folder: Path, name: str) -> Path:
    """A list of the folder in circulation.

    Raises:
        UserError: it is nowhere.
    """
    places = [folder / inside / name for inside in (".", "devkit", "car_devkit", "car_devkit/devkit")]
    for path in (*places, folder.parent / name):
        if path.is_file():
            return path
    raise UserError(f"{folder}: {name} is neither here nor in devkit/; put it there")


def files(_pack: str) -> tuple[str, ...]:
    """What must lie below the place of the data."""
    return tuple(each.archive for each in (DEVKIT, TRAIN, TEST, ANSWERS))


def other_files(_pack: str) -> list[tuple[str, ...]]:
    """What may lie there instead: the folders of images of a folder in circulation."""
    return [images for _, images in _folders_in_circulation()]


def sources(_pack: str) -> dict[str, str]:
    """The checksums of what the pack is made of, and how that is stored."""
    return {each.archive: each.md5 for each in (DEVKIT, TRAIN, TEST, ANSWERS)} | stored()


def _wanted(name: str) -> bool:
    return name.endswith((".jpg", ".mat"))


def _listing(annotations: Path, folder: Path, images: str, *, test: int | None = None) -> Listing:
    """The images that a MATLAB file annotates, with their classes, counted from 1, or in some copies from 0.

    Args:
        annotations: the file.
        folder: where `images` lies.
        images: the folder of the images; they may lie in a folder of the same name in it.
        test: of a list of all images: only those whose `test` is this, 1 of test images, 0 of the others.

    Raises:
        UserError: the file has other contents.
    """
    path = "fname" if test is None else "relative_im_path"
    try:
        found = _mat(annotations)["annotations"]
        names = np.array([Path(str(each[path])).name for each in found])
        labels = np.array([each["class"] for each in found], np.int64)
        chosen = np.array([test is None or int(each["test"]) == test for each in found], bool)
    except (LookupError, ValueError, TypeError) as error:
        raise UserError(f"{annotations}: no list of images with {path} and class ({error})") from error
    # classes count from 1, in some copies from 0: `initial` makes the least one 1 at most
    inside = f"{images}/{images}" if (folder / images / images).is_dir() else images
    paths = tuple(f"{inside}/{name}" for name in names[chosen])
    return Listing(paths, labels[chosen] - labels.min(initial=1)).interleaved()


def _mat(file: Path) -> dict[str, Any]:
    """The content of a MATLAB file.

    Raises:
        UserError: it is of another version, or damaged.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found: dict[str, Any] = loadmat(file, squeeze_me=True)
    except NotImplementedError as error:
        raise UserError(
            f"{file}: a MATLAB file of version 7.3 (HDF5), and the official one is of version 5; "
            f"get that one, or save it in MATLAB with -v7"
        ) from error
    except (MatReadError, ValueError, TypeError, EOFError) as error:
        raise UserError(f"{file}: no MATLAB file that can be read ({error}); get it again") from error
    return found
