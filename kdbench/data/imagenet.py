"""ImageNet (ILSVRC 2012) from a local folder; it may not be passed on, nor fetched.

    imagenet/train/n01440764/*.JPEG    1,281,167 images in 1,000 folders
    imagenet/val/n01440764/*.JPEG         50,000 images in the same folders

Instead of these folders there may be what the archives unpack to, or the archives: `train/n01440764.tar` or
`ILSVRC2012_img_train.tar`, `val/ILSVRC2012_val_00000001.JPEG` or `ILSVRC2012_img_val.tar`. Archives are read
where they lie. A list in `imagenet/`, the development kit's or Kaggle's, then says of which class validation
images are.

Files are held by their number, not by a checksum: the md5s in `sources` are those of the archives that such
a folder is unpacked from, as torchvision's ImageNet names them. The content digest, in every result,
distinguishes copies.
"""

import csv
import re
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np

from kdbench import catalog
from kdbench.data.disk import Arrays
from kdbench.data.fetch import Fetcher
from kdbench.data.images import is_stray
from kdbench.data.shards import Listing, Member, Split, pack_shards, stored
from kdbench.errors import UserError

FOLDER = "imagenet"
ARCHIVES = {
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
}
FOLDERS: tuple[tuple[Split, str], ...] = (("train", "train"), ("test", "val"))
DEVKIT = "ILSVRC2012_devkit_t12"
KAGGLE = "LOC_val_solution.csv"
ID = re.compile(r"n\d{8}")
"""A class: its WordNet id, which is the name of its folder."""


def imagenet(fetcher: Fetcher) -> Arrays:
    """1,281,167 training and 50,000 validation images of 1,000 classes, classes taking turns.

    Classes are numbered by their sorted WordNet ids.

    Raises:
        UserError: the folder is not there or has not these images; says where to put what.
    """
    place = fetcher.place / FOLDER
    found = {name: _images(place, name) for _, name in FOLDERS}
    flat = [name for name in found["val"] if "/" not in name]
    found["val"] = _in_folders(place, found["val"]) if flat else found["val"]
    ids = sorted({name.partition("/")[0] for name in found["train"]})
    splits: dict[Split, Listing] = {split: _listing(name, found[name], ids) for split, name in FOLDERS}
    problems = [*_counts(place, splits, found), *_strange(place, found, ids)]
    if problems:
        raise UserError(*problems, _where(place))
    return pack_shards("imagenet", place, splits, ids, fetcher)


def files(_pack: str) -> tuple[str, ...]:
    """What must lie below the place of the data."""
    return tuple(f"{FOLDER}/{name}" for _, name in FOLDERS)


def other_files(_pack: str) -> list[tuple[str, ...]]:
    """What may lie there instead: the archive of either split, or of both."""
    forms = [(f"{FOLDER}/{name}", f"{FOLDER}/ILSVRC2012_img_{name}.tar") for _, name in FOLDERS]
    return list(product(*forms))[1:]


def sources(_pack: str) -> dict[str, str]:
    """The checksums of the archives that the folder is unpacked from, and how the images are stored."""
    return ARCHIVES | stored()


Found = dict[str, Member | None]
"""Images by `n01440764/NAME.JPEG`, or `NAME.JPEG` where they lie in no folder; and where in an archive."""


def _images(place: Path, name: str) -> Found:
    """The images of `train` or `val`: in folders, in an archive per class, or in the official archive."""
    folder, official = place / name, place / f"ILSVRC2012_img_{name}.tar"
    if not folder.is_dir():
        return dict(_members(official)) if official.is_file() else {}
    found: Found = {}
    for path in sorted(folder.iterdir()):
        if is_stray(path.name):
            continue
        if path.is_dir():
            files = sorted(path.iterdir())
            found |= {f"{path.name}/{file.name}": None for file in files if _is_image(file.name)}
        elif path.suffix == ".tar":
            found |= {f"{path.stem}/{member}": of for member, of in _members(path)}
        elif _is_image(path.name):
            found[path.name] = None
    return found


def _is_image(name: str) -> bool:
    return name.upper().endswith((".JPEG", ".JPG")) and not is_stray(name)


def _members(archive: Path) -> Iterator[tuple[str, Member]]:
    """The images of an archive, and of the archives in it: one for each class, n01440764.tar.

    Raises:
        UserError: it is damaged.
    """
    try:
        with tarfile.open(archive, "r:") as outer:
            for member in outer:
                name = Path(member.name)
                if _is_image(name.name):
                    yield name.name, (archive, member.offset_data, member.size)
                elif name.suffix == ".tar":
                    with tarfile.open(fileobj=outer.extractfile(member), mode="r:") as inner:
                        images = [each for each in inner if _is_image(Path(each.name).name)]
                    for each in images:
                        start = member.offset_data + each.offset_data
                        yield f"{name.stem}/{Path(each.name).name}", (archive, start, each.size)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: cannot be read: {error}; get it again") from error


def _in_folders(place: Path, images: Found) -> Found:
    """Validation images that lie in no folder, each in the folder of its class.

    Raises:
        UserError: no list says which that is.
    """
    classes = _validation_classes(place)
    if classes is None:
        raise UserError(
            f"{place / 'val'}: the images lie in no folders, so that a list must say their classes: put "
            f"{DEVKIT}.tar.gz of image-net.org, or Kaggle's {KAGGLE}, into {place}"
        )
    found: Found = {}
    for name, of in images.items():
        if "/" in name:
            found[name] = of
        else:
            path = place / "val" / name
            found[f"{classes.get(path.stem, '?')}/{name}"] = of or (path, 0, path.stat().st_size)
    return found


def _validation_classes(place: Path) -> dict[str, str] | None:
    """The class of each validation image, by its file's name without JPEG; None where no list lies there.

    Raises:
        UserError: a list is damaged.
    """
    kaggle = place / KAGGLE
    archive = place / f"{DEVKIT}.tar.gz"
    folder = place / DEVKIT
    try:
        if kaggle.is_file():
            with kaggle.open(encoding="utf-8", newline="") as lines:
                return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(lines)}
        if archive.is_file():
            with tarfile.open(archive) as tar:
                return _by_devkit(lambda name: _content(tar, f"{DEVKIT}/data/{name}"))
        if folder.is_dir():
            return _by_devkit(lambda name: (folder / "data" / name).read_bytes())
    except (tarfile.TarError, EOFError, LookupError, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: the list of the validation images cannot be read: {error}") from error
    return None


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise LookupError(f"{name} is no file")
    return file.read()


def _by_devkit(read: Callable[[str], bytes]) -> dict[str, str]:
    """What the development kit says: a line per image with the number of its class, and the classes' ids."""
    from scipy.io import loadmat

    synsets = loadmat(BytesIO(read("meta.mat")), squeeze_me=True)["synsets"]
    ids = {int(each["ILSVRC2012_ID"]): str(each["WNID"]) for each in synsets}
    numbers = read("ILSVRC2012_validation_ground_truth.txt").decode("ascii").split()
    return {f"ILSVRC2012_val_{at:08}": ids[int(number)] for at, number in enumerate(numbers, 1)}


def _listing(name: str, images: Found, ids: list[str]) -> Listing:
    """The images of a split; those in a folder that is no training class are left out."""
    label = {each: number for number, each in enumerate(ids)}
    known = sorted(image for image in images if image.partition("/")[0] in label)
    labels = np.array([label[image.partition("/")[0]] for image in known], np.int64)
    members = {f"{name}/{image}": of for image in known if (of := images[image]) is not None}
    return Listing(tuple(f"{name}/{image}" for image in known), labels, members).interleaved()


def _counts(place: Path, splits: dict[Split, Listing], found: dict[str, Found]) -> Iterator[str]:
    """What has not the number that ILSVRC 2012 has."""
    entry = catalog.DATASETS["imagenet"]
    for split, name in FOLDERS:
        images, folders = len(splits[split].files), len(_folders(found[name]))
        there = f"{images:,} images in {folders:,} folders"
        known = getattr(entry, split)
        if (images, folders) != (known, entry.classes):
            yield f"{place / name}: {there}, not {known:,} in {entry.classes:,}"


def _strange(place: Path, found: dict[str, Found], ids: list[str]) -> Iterator[str]:
    """Folders that are no class: of train by their names, of val where train has none such."""
    for name in [each for each in ids if not ID.fullmatch(each)][:3]:
        yield f"{place / 'train'}: {name} is no folder of a class, such as n01440764; move it away"
    for name in sorted(_folders(found["val"]) - set(ids))[:3]:
        yield f"{place / 'val'}: {name} is no folder of train"


def _folders(images: Found) -> set[str]:
    return {name.partition("/")[0] for name in images}


def _where(place: Path) -> str:
    return (
        f"ImageNet may not be passed on, so it is not fetched: get {' and '.join(ARCHIVES)} from "
        f"image-net.org and put them there, or unpack them, or make a link, so that images lie at "
        f"{place}/train/n01440764/*.JPEG and {place}/val/n01440764/*.JPEG"
    )
