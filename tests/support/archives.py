"""Small data sets in the layouts in which the real ones are published.

An image is of one colour, which tells its class and its number: red is 20 times the class, green 20 times
the number. JPEG keeps such an image to about one level.
"""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import scipy
from PIL import Image

from kdbench.data.neighbours import CUB200

WNIDS = ("n03000000", "n01000000", "n02000000")
"""Not in order, as in the published list."""


def jpeg(of_class: int, number: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """An image of (width, height)."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (20 * of_class, 20 * number, 100)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def tgz(files: Mapping[str, bytes], *members: tarfile.TarInfo) -> bytes:
    """An archive, the same at any time of day (gzip would write the second it was made)."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return buffer.getvalue()


@cache
def tinyimagenet(train: int = 3, test: int = 2) -> bytes:
    """`tiny-imagenet-200.zip` with three classes."""
    root, files = "tiny-imagenet-200", {}
    ids = sorted(WNIDS)
    for label, name in enumerate(ids):
        for number in range(train):
            files[f"train/{name}/images/{name}_{number}.JPEG"] = jpeg(label, number)
    lines = []
    for number in range(test * len(ids)):
        label = number % len(ids)
        files[f"val/images/val_{number}.JPEG"] = jpeg(label, number)
        lines.append(f"val_{number}.JPEG\t{ids[label]}\t0\t32\t44\t62")
    files["val/val_annotations.txt"] = "\n".join(lines).encode() + b"\n"
    files["wnids.txt"] = "\n".join(WNIDS).encode() + b"\n"
    files["words.txt"] = b"n01000000\tgoldfish, Carassius auratus\nn02000000\tbee\nn09999999\tother\n"
    files["test/images/test_0.JPEG"] = jpeg(0, 0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(zipfile.ZipInfo(f"{root}/{name}"), content)
    return buffer.getvalue()


@cache
def cub200(classes: int = 3, train: int = 2, test: int = 1) -> bytes:
    """`CUB_200_2011.tgz` with images of the first classes, taller and wider by turns."""
    files: dict[str, bytes] = {}
    images: list[str] = []
    labels: list[str] = []
    split: list[str] = []
    for label in range(classes):
        for number in range(train + test):
            at = len(images) + 1
            name = f"{CUB200[label]}/{CUB200[label][4:]}_{number:04}.jpg"
            files[f"CUB_200_2011/images/{name}"] = jpeg(label, number, [(60, 40), (40, 50)][number % 2])
            images.append(f"{at} {name}")
            labels.append(f"{at} {label + 1}")
            split.append(f"{at} {int(number < train)}")
    texts = {
        "images.txt": images,
        "image_class_labels.txt": labels,
        "train_test_split.txt": split,
        "classes.txt": [f"{number} {name}" for number, name in enumerate(CUB200, 1)],
        "README": ["read me"],
    }
    lists = {f"CUB_200_2011/{name}": "\n".join(lines).encode() + b"\n" for name, lines in texts.items()}
    return tgz({"attributes.txt": b"1 x", **lists, **files})


@cache
def cars(classes: int = 3, train: int = 2, test: int = 1) -> dict[str, bytes]:
    """The four files of Stanford Cars, by name."""
    sets = {"train": train, "test": test}
    pictures: dict[str, dict[str, bytes]] = {}
    notes: dict[str, bytes] = {}
    for split, per_class in sets.items():
        rows = [(label, number) for number in range(per_class) for label in reversed(range(classes))]
        names = [f"{at:05}.jpg" for at in range(1, len(rows) + 1)]
        pictures[split] = {
            f"cars_{split}/{name}": jpeg(*row, (50, 40)) for name, row in zip(names, rows, strict=True)
        }
        notes[split] = annotations([(name, row[0] + 1) for name, row in zip(names, rows, strict=True)])
    made = np.array([f"Make Model {label}" for label in range(classes)], object)
    devkit = {
        "devkit/cars_meta.mat": mat({"class_names": made}),
        "devkit/cars_train_annos.mat": notes["train"],
        "devkit/README.txt": b"read me",
    }
    return {
        "car_devkit.tgz": tgz(devkit),
        "cars_train.tgz": tgz(pictures["train"]),
        "cars_test.tgz": tgz(pictures["test"]),
        "cars_test_annos_withlabels.mat": notes["test"],
    }


def cars_in_one_folder(files: dict[str, bytes], folder: Path) -> None:
    """What `cars` gives as the other folder in circulation: car_ims/*.jpg, the test images first."""
    rows: list[tuple[int, int, str]] = []
    (folder / "car_ims").mkdir(parents=True)
    for split, archive in ((1, "cars_test.tgz"), (0, "cars_train.tgz")):
        with tarfile.open(fileobj=io.BytesIO(files[archive])) as tar:
            images = [file.read() for member in tar.getmembers() if (file := tar.extractfile(member))]
        for number, image in enumerate(images):
            name = f"car_ims/{len(rows) + 1:06}.jpg"
            (folder / name).write_bytes(image)
            rows.append((3 - number % 3, split, name))
    kind = [("class", object), ("test", object), ("relative_im_path", object)]
    names = np.array([f"Make Model {label}" for label in range(3)], object)
    content = mat({"annotations": np.array(rows, kind), "class_names": names})
    (folder / "cars_annos.mat").write_bytes(content)


def imagenet(place: Path, train: int = 2, test: int = 1) -> None:
    """`imagenet/` with three classes."""
    for split, per_class in (("train", train), ("val", test)):
        for label, name in enumerate(sorted(WNIDS)):
            folder = place / "imagenet" / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                (folder / f"{name}_{number}.JPEG").write_bytes(jpeg(label, number, (48, 40)))


def plain_tar(files: Mapping[str, bytes]) -> bytes:
    """An archive that is not compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def imagenet_devkit(classes: list[str]) -> dict[str, bytes]:
    """The files of ImageNet's development kit that tell the class of each validation image."""
    ids = list(WNIDS)
    kind = [("ILSVRC2012_ID", object), ("WNID", object)]
    synsets = np.array(list(enumerate(ids, 1)), kind)
    numbers = "".join(f"{1 + ids.index(each)}\n" for each in classes)
    data = {"meta.mat": mat({"synsets": synsets}), "ILSVRC2012_validation_ground_truth.txt": numbers.encode()}
    return {f"ILSVRC2012_devkit_t12/data/{name}": content for name, content in data.items()}


def annotations(rows: list[tuple[str, int]]) -> bytes:
    """A list of Stanford Cars: of each image its name and its class."""
    kind = [("bbox_x1", object), ("class", object), ("fname", object)]
    return mat({"annotations": np.array([(1, of_class, name) for name, of_class in rows], kind)})


def mat(content: dict[str, object]) -> bytes:
    """A MATLAB file."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, content)
    return buffer.getvalue()
