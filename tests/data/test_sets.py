"""Tiny-ImageNet, CUB-200, Cars and ImageNet end to end: fetched from a server, packed, opened, verified."""

import io
import os
import socket
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from itertools import product
from pathlib import Path
from shutil import copytree, rmtree
from types import ModuleType

import numpy as np
import pytest
import scipy
from msgspec.structs import replace

from kdbench import catalog
from kdbench.data import cars, cifar, cub, mnist, place, tinyimagenet
from kdbench.data.fetch import Fetcher
from kdbench.data.neighbours import CUB200
from kdbench.data.packed import Dataset, open_dataset, source_digest
from kdbench.data.shards import SIDE
from kdbench.errors import UserError
from tests.support import archives
from tests.support.command import Command
from tests.support.server import Server

FETCHED = ("tinyimagenet", "cub200", "cars")
ALL = (*FETCHED, "imagenet")
HOME: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "tinyimagenet": (tinyimagenet, ("OFFICIAL",)),
    "cub200": (cub, ("OFFICIAL",)),
    "cars": (cars, ("DEVKIT", "TRAIN", "TEST", "ANSWERS")),
}


@dataclass
class Published:
    """The small data sets as a server has them, in place of the real ones."""

    server: Server
    place: Path
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def mirrors(self) -> tuple[str, ...]:
        """One that is dead, one that is corrupt, one that is good."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        return dead, self.server.url("/corrupt"), self.server.url("/good")

    def open(self, name: str) -> Dataset:
        """Fetched from the mirrors and packed where that is not yet done."""
        return open_dataset(name, Fetcher(place=self.place, mirrors=self.mirrors()))


@pytest.fixture
def published(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    found = Published(server, tmp_path / "data")
    found.files = {
        "tinyimagenet": {"tiny-imagenet-200.zip": archives.tinyimagenet()},
        "cub200": {"CUB_200_2011.tgz": archives.cub200()},
        "cars": archives.cars(),
    }
    archives.imagenet(found.place)
    for name, (module, constants) in HOME.items():
        for constant in constants:
            official = getattr(module, constant)
            content = found.files[name][official.archive]
            checksum = md5(content, usedforsecurity=False).hexdigest()
            monkeypatch.setattr(module, constant, replace(official, url="", md5=checksum))
            server.files[f"/good/{official.archive}"] = content
            server.files[f"/corrupt/{official.archive}"] = content[:-1] + b"?"
    for name, (train, test) in {"tinyimagenet": (9, 6), **dict.fromkeys(ALL[1:], (6, 3))}.items():
        entry = replace(catalog.DATASETS[name], train=train, test=test, classes=3)
        monkeypatch.setitem(catalog.DATASETS, name, entry)
        entry = replace(entry, digest=source_digest(entry))
        monkeypatch.setitem(catalog.DATASETS, name, entry)
    return found


def colours(data: Dataset, split: str) -> list[tuple[int, int]]:
    """The class and the number that each image's colour tells."""
    pixels = [np.asarray(image).reshape(3, -1).mean(axis=1) for image in getattr(data, f"{split}_images")]
    return [(round(red / 20), round(green / 20)) for red, green, _ in pixels]


@pytest.mark.parametrize("name", ALL)
def test_images_have_the_labels_of_their_colours_and_classes_take_turns(
    published: Published, name: str
) -> None:
    data = published.open(name)
    for split in ("train", "test"):
        assert [label for label, _ in colours(data, split)] == getattr(data, f"{split}_labels").tolist()
    assert data.train_labels.tolist() == [0, 1, 2] * (len(data.train_labels) // 3)
    numbers = [number for _, number in colours(data, "train")]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", FETCHED)
def test_third_mirror_delivers_where_one_is_dead_and_one_corrupt(published: Published, name: str) -> None:
    published.open(name)
    asked = [path for path, _ in published.server.asked]
    assert asked == [
        f"/{mirror}/{archive}" for archive in published.files[name] for mirror in ("corrupt", "good")
    ]


@pytest.mark.parametrize("name", FETCHED)
def test_without_a_mirror_each_file_is_told_and_where_it_goes(published: Published, name: str) -> None:
    with pytest.raises(UserError) as error:
        open_dataset(name, Fetcher(place=published.place))
    archives_of = list(published.files[name])
    assert len(error.value.problems) == len(archives_of)
    for archive, problem in zip(archives_of, error.value.problems, strict=True):
        assert problem.startswith(f"{archive} (md5 ")
        assert f"put it at {published.place / archive} by hand" in problem


@pytest.mark.parametrize("name", FETCHED)
def test_files_put_in_place_by_hand_are_taken_offline(published: Published, name: str) -> None:
    for archive, content in published.files[name].items():
        (published.place / archive).write_bytes(content)
    open_dataset(name, Fetcher(place=published.place, offline=True))
    assert published.server.asked == []


@pytest.mark.parametrize("name", ALL)
def test_packed_data_open_again_without_their_sources(published: Published, name: str) -> None:
    first = published.open(name)
    for path in published.place.iterdir():
        if path.name in published.files.get(name, {}) or path.name == "imagenet":
            path.rename(path.with_name(f"gone {path.name}"))
    rerun = open_dataset(name, Fetcher(place=published.place, offline=True))
    assert (rerun.content, rerun.names) == (first.content, first.names)
    assert all(map(np.array_equal, first.test_images, rerun.test_images))


@pytest.mark.parametrize("name", ALL)
def test_nothing_but_the_pack_and_the_archives_is_left(published: Published, name: str) -> None:
    published.open(name)
    there = {path.name for path in published.place.iterdir()} - {f".{name}.lock", "imagenet"}
    shards = {f"{name}.v1"} if catalog.DATASETS[name].varied else set()
    assert there == {f"{name}.v1.json", f"{name}.v1.safetensors", *shards, *published.files.get(name, ())}


def test_tinyimagenet_numbers_classes_by_sorted_id_and_names_them(published: Published) -> None:
    data = published.open("tinyimagenet")
    assert data.names == ("n01000000 goldfish, Carassius auratus", "n02000000 bee", "n03000000")
    assert tuple(data.train_images.shape) == (9, 3, 64, 64)


def test_tinyimagenet_tests_in_the_order_of_its_annotations(published: Published) -> None:
    assert colours(published.open("tinyimagenet"), "test") == [(n % 3, n) for n in range(6)]


def test_cub200_keeps_the_official_split_and_names(published: Published) -> None:
    data = published.open("cub200")
    assert data.names == CUB200
    assert colours(data, "test") == [(0, 2), (1, 2), (2, 2)]


def test_cub200_of_other_classes_is_refused(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cub, "CUB200", ("001.Dodo", *CUB200[1:]))
    with pytest.raises(UserError, match=r"classes\.txt names other classes"):
        published.open("cub200")


def test_cars_are_named(published: Published) -> None:
    assert published.open("cars").names == ("Make Model 0", "Make Model 1", "Make Model 2")


def test_stored_images_have_the_shorter_side_of_the_catalog(published: Published) -> None:
    images = published.open("cub200").train_images
    assert [tuple(image.shape) for image in images][:4] == [*3 * [(3, 256, 384)], (3, 320, 256)]
    assert {entry.size for entry in catalog.DATASETS.values() if entry.varied} == {SIDE}


def test_imagenet_that_is_not_there_says_where_it_goes(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        open_dataset("imagenet", Fetcher(place=tmp_path))
    train, val, where = error.value.problems
    assert train.endswith("train: 0 images in 0 folders, not 1,281,167 in 1,000")
    assert val.endswith("val: 0 images in 0 folders, not 50,000 in 1,000")
    assert f"{tmp_path}/imagenet/train/n01440764/*.JPEG" in where


def test_imagenet_that_lacks_an_image_is_refused(published: Published) -> None:
    next((published.place / "imagenet/train/n01000000").iterdir()).unlink()
    with pytest.raises(UserError, match="train: 5 images in 3 folders, not 6 in 3"):
        published.open("imagenet")


def name_officially(folder: Path) -> None:
    """Validation images with the names of their archive; these have no order of classes."""
    for at, file in enumerate(sorted(folder.glob("*/*"), reverse=True), 1):
        file.rename(file.with_name(f"ILSVRC2012_val_{at:08}.JPEG"))


def flatten(folder: Path) -> list[str]:
    """Validation images in one folder, as their archive has them; the class of each, in their order."""
    name_officially(folder)
    images = sorted(folder.glob("*/*"), key=lambda file: file.name)
    for file in images:
        file.rename(folder / file.name)
        file.parent.rmdir()
    return [file.parent.name for file in images]


def as_devkit_archive(place: Path, classes: list[str]) -> None:
    (place / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(archives.tgz(archives.imagenet_devkit(classes)))


def as_devkit_folder(place: Path, classes: list[str]) -> None:
    for name, content in archives.imagenet_devkit(classes).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)


def as_kaggles_list(place: Path, classes: list[str]) -> None:
    rows = [f"ILSVRC2012_val_{at:08},{name} 1 2 3 4 " for at, name in enumerate(classes, 1)]
    (place / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))


@pytest.mark.parametrize("keep", [as_devkit_archive, as_devkit_folder, as_kaggles_list])
def test_imagenet_with_validation_images_in_one_folder(
    published: Published, keep: Callable[[Path, list[str]], None]
) -> None:
    place = published.place / "imagenet"
    keep(place, flatten(place / "val"))
    assert colours(published.open("imagenet"), "test") == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize("content", ["", "ImageId,PredictionString\na,\n"])
def test_imagenet_with_a_damaged_list_of_validation_images_is_refused(
    published: Published, content: str
) -> None:
    flatten(published.place / "imagenet/val")
    (published.place / "imagenet/LOC_val_solution.csv").write_text(content)
    with pytest.raises(
        UserError, match=r"the list of the validation images cannot be read|\? is no folder of train"
    ):
        published.open("imagenet")


def test_imagenet_with_validation_images_of_no_known_class_is_refused(published: Published) -> None:
    flatten(published.place / "imagenet/val")
    with pytest.raises(
        UserError, match=r"put ILSVRC2012_devkit_t12\.tar\.gz .*, or Kaggle's LOC_val_solution\.csv"
    ):
        published.open("imagenet")


def in_tars(place: Path) -> None:
    """A tar for each class, as ILSVRC2012_img_train.tar unpacks to."""
    for folder in sorted((place / "train").iterdir()):
        files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
        (place / "train" / f"{folder.name}.tar").write_bytes(archives.plain_tar(files))
        rmtree(folder)


def in_archives(place: Path) -> None:
    """ILSVRC2012_img_train.tar, a tar of tars, and ILSVRC2012_img_val.tar with the development kit."""
    in_tars(place)
    as_devkit_archive(place, flatten(place / "val"))
    for name in ("train", "val"):
        files = {file.name: file.read_bytes() for file in sorted((place / name).iterdir())}
        (place / f"ILSVRC2012_img_{name}.tar").write_bytes(archives.plain_tar(files))
        rmtree(place / name)


@pytest.mark.parametrize("pack", [in_tars, in_archives])
def test_imagenet_in_tars_is_the_same_data_set(
    published: Published, tmp_path: Path, pack: Callable[[Path], None]
) -> None:
    name_officially(published.place / "imagenet/val")
    copytree(published.place / "imagenet", tmp_path / "other" / "imagenet")
    pack(tmp_path / "other" / "imagenet")
    assert (
        open_dataset("imagenet", Fetcher(place=tmp_path / "other")).content
        == published.open("imagenet").content
    )


def test_damaged_image_in_a_tar_is_told_by_tar_and_name(published: Published) -> None:
    damaged = published.place / "imagenet/train/n02000000/n02000000_1.JPEG"
    damaged.write_bytes(b"no image")
    in_tars(published.place / "imagenet")
    told = (
        "train/n02000000.tar, n02000000_1.JPEG: no image that can be read (of no known kind); fetch it again"
    )
    with pytest.raises(UserError) as error:
        published.open("imagenet")
    assert str(error.value) == f"{published.place}/imagenet/{told}"


def test_damaged_image_in_one_folder_is_told_by_its_path(published: Published) -> None:
    place = published.place / "imagenet"
    as_devkit_folder(place, flatten(place / "val"))
    (place / "val/ILSVRC2012_val_00000002.JPEG").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"imagenet/val/ILSVRC2012_val_00000002\.JPEG: no image"):
        published.open("imagenet")


def test_imagenet_in_a_damaged_tar_is_refused_by_name(published: Published) -> None:
    in_tars(published.place / "imagenet")
    damaged = published.place / "imagenet/train/n02000000.tar"
    damaged.write_bytes(damaged.read_bytes()[:700])
    with pytest.raises(UserError, match=r"n02000000\.tar: cannot be read: |train: .* images in"):
        published.open("imagenet")


STRAY = [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".Trash", "lost+found"]


def test_stray_folders_are_no_classes(published: Published) -> None:
    image = next((published.place / "imagenet/train/n01000000").iterdir()).read_bytes()
    for folder, name in product(("train", "val", "train/n01000000"), STRAY):
        (published.place / "imagenet" / folder / name).mkdir()
        (published.place / "imagenet" / folder / name / "a.JPEG").write_bytes(image)
    (published.place / "imagenet/train/n01000000/._n01000000_0.JPEG").write_bytes(b"\0")
    assert len(published.open("imagenet").train_images) == 6


@pytest.mark.parametrize("name", ["backup", "n0144", "loose.JPEG"])
def test_folder_that_is_no_class_is_named(published: Published, name: str) -> None:
    image = next((published.place / "imagenet/train/n01000000").iterdir()).read_bytes()
    strange = published.place / "imagenet/train" / name
    if "." not in name:
        strange.mkdir()
        strange /= "a.JPEG"
    strange.write_bytes(image)
    with pytest.raises(UserError, match=rf"train: {name} is no folder of a class, such as n01440764"):
        published.open("imagenet")


def as_folder(published: Published, root: str, *, nested: bool = False, base: int = 1) -> None:
    """Stanford Cars as the folder in circulation: below the place of the data, lists in devkit/."""
    folder = published.place / root
    for archive, content in published.files["cars"].items():
        if archive.endswith(".tgz"):
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                tar.extractall(folder, filter="data")
    (folder / "cars_test_annos_withlabels.mat").write_bytes(
        published.files["cars"]["cars_test_annos_withlabels.mat"]
    )
    for split, lists in (
        ("train", "devkit/cars_train_annos.mat"),
        ("test", "cars_test_annos_withlabels.mat"),
    ):
        rows = scipy.io.loadmat(folder / lists, squeeze_me=True)["annotations"]
        moved = [(str(row["fname"]), int(row["class"]) - 1 + base) for row in rows]
        (folder / lists).write_bytes(archives.annotations(moved))
        if nested:
            (folder / f"cars_{split}").rename(folder / "moved")
            (folder / f"cars_{split}").mkdir()
            (folder / "moved").rename(folder / f"cars_{split}" / f"cars_{split}")


@pytest.mark.parametrize(
    ("root", "nested", "base"),
    [("cars", False, 1), ("stanford_cars", True, 0), (".", False, 0), (".", True, 1)],
)
def test_cars_from_the_folder_in_circulation(
    published: Published, root: str, base: int, *, nested: bool
) -> None:
    as_folder(published, root, nested=nested, base=base)
    data = open_dataset("cars", Fetcher(place=published.place, offline=True))
    assert colours(data, "train") == [(label, number) for number in range(2) for label in range(3)]
    assert data.names == ("Make Model 0", "Make Model 1", "Make Model 2")


@pytest.mark.parametrize("root", ["cars", "stanford_cars", "."])
def test_cars_from_the_folder_that_has_all_images_in_one(published: Published, root: str) -> None:
    archives.cars_in_one_folder(published.files["cars"], published.place / root)
    data = open_dataset("cars", Fetcher(place=published.place, offline=True))
    assert colours(data, "train") == [(label, number) for number in range(2) for label in range(3)]
    assert colours(data, "test") == [(label, 0) for label in range(3)]
    assert data.names == ("Make Model 0", "Make Model 1", "Make Model 2")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cars_annos.mat is neither here nor in"),
        ({"annotations": 3}, "no list of images with relative_im"),
    ],
)
def test_cars_in_one_folder_without_their_list_are_refused(
    published: Published, content: dict[str, object] | None, reason: str
) -> None:
    archives.cars_in_one_folder(published.files["cars"], published.place / "cars")
    file = published.place / "cars/cars_annos.mat"
    file.unlink()
    if content is not None:
        file.write_bytes(archives.mat(content))
    with pytest.raises(UserError, match=reason):
        open_dataset("cars", Fetcher(place=published.place, offline=True))


def test_cars_folder_of_another_matlab_version_is_refused_by_name(published: Published) -> None:
    as_folder(published, "cars")
    file = published.place / "cars/devkit/cars_train_annos.mat"
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    file.write_bytes(header + bytes(384) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UserError, match=rf"{file}: a MATLAB file of version 7\.3 \(HDF5\)"):
        open_dataset("cars", Fetcher(place=published.place, offline=True))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no MATLAB file that can be read"),
        (b"MATLAB", "no MATLAB file that can be read"),
        (archives.mat({"annotations": 3}), "no list of images with fname and class"),
        (archives.mat({"other": 3}), "no list of images with fname and class"),
    ],
    ids=["empty", "cut", "a number", "another"],
)
def test_cars_folder_with_a_damaged_list_is_refused_by_name(
    published: Published, content: bytes, reason: str
) -> None:
    as_folder(published, "cars")
    file = published.place / "cars/devkit/cars_train_annos.mat"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{file}: {reason}"):
        open_dataset("cars", Fetcher(place=published.place, offline=True))


@pytest.mark.parametrize("name", ["devkit/cars_meta.mat", "cars_train/00001.jpg"])
def test_cars_folder_that_lacks_a_file_names_it(published: Published, name: str) -> None:
    as_folder(published, "cars")
    (published.place / "cars" / name).unlink()
    with pytest.raises(
        UserError, match=rf"{Path(name).name}(: this image is listed and not there| is neither here)"
    ):
        open_dataset("cars", Fetcher(place=published.place, offline=True))


def test_file_that_is_no_image_is_told_by_its_path_alone(published: Published) -> None:
    broken = published.place / "imagenet/train/n02000000/n02000000_1.JPEG"
    for content in (b"", b"GIF", b"<html>404</html>", bytes(1000)):
        broken.write_bytes(content)
        with pytest.raises(UserError) as error:
            published.open("imagenet")
        assert str(error.value) == f"{broken}: no image that can be read (of no known kind); fetch it again"


def test_damaged_image_is_told_by_name(published: Published) -> None:
    damaged = published.place / "imagenet/train/n02000000/n02000000_1.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(UserError, match=r"n02000000_1\.JPEG: no image that can be read"):
        published.open("imagenet")


@pytest.fixture
def command(published: Published, project: Path, kdbench: Command) -> Callable[..., str]:
    """`kdbench data` where benchmark.toml names the mirrors."""
    mirrors = ", ".join(f'"{url}"' for url in published.mirrors())
    (project / "benchmark.toml").write_text(f'[data]\nfolder = "data"\nmirrors = [{mirrors}]\n')

    def call(*words: str) -> str:
        done = kdbench("data", *words)
        assert done.code == 0, done.err
        return done.out

    return call


def test_commands_fetch_verify_and_list_them(published: Published, command: Callable[..., str]) -> None:
    fetched = command("fetch", *ALL).splitlines()
    assert [line.split(": ")[0] for line in fetched] == list(ALL)
    verified = command("verify", *ALL).splitlines()
    assert [", content " in line for line in verified] == 4 * [True]
    rows = {words[0]: words for line in command("list").splitlines() if (words := line.split())}
    assert [rows[name][4] for name in ALL] == 4 * ["packed"]
    assert [rows[name][-1] in verified[at] for at, name in enumerate(ALL)] == 4 * [True]
    assert command("where").split()[0] == os.fspath(published.place)


def test_list_tells_which_have_been_fetched_only(published: Published, command: Callable[..., str]) -> None:
    for name in FETCHED[1:]:
        for archive, content in published.files[name].items():
            (published.place / archive).write_bytes(content)
    rows = {words[0]: words for line in command("list").splitlines() if (words := line.split())}
    assert [rows[name][4] for name in ALL] == ["missing", "fetched", "fetched", "fetched"]


OTHER_FORMS = [
    ("cars", ("cars/cars_train/", "cars/cars_test/")),
    ("cars", ("stanford_cars/cars_train/", "stanford_cars/cars_test/")),
    ("cars", ("cars_train/", "cars_test/")),
    ("cars", ("cars/car_ims/",)),
    ("cars", ("car_ims/",)),
    ("imagenet", ("imagenet/ILSVRC2012_img_train.tar", "imagenet/val/")),
    ("imagenet", ("imagenet/train/", "imagenet/ILSVRC2012_img_val.tar")),
    ("imagenet", ("imagenet/ILSVRC2012_img_train.tar", "imagenet/ILSVRC2012_img_val.tar")),
    ("cifar10", ("cifar-10-python.tar.gz",)),
    ("cifar100_coarse", ("cifar-100-python.tar.gz",)),
    ("mnist_7x7", tuple(f"mnist/{name}.gz" for name in mnist.FILES)),
]


@pytest.mark.parametrize(("name", "form"), OTHER_FORMS, ids=lambda part: str(part)[:50])
def test_list_knows_every_form_in_which_a_data_set_is_read(
    tmp_path: Path, name: str, form: tuple[str, ...]
) -> None:
    for whole in (False, True):
        for each in form[:1] if whole else form[1:]:
            path = tmp_path / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if each.endswith("/") else path.touch()
        states = {row.name: row.state for row in place.list_datasets(tmp_path)}
        assert states[name] == ("fetched" if whole else "missing")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar100", cifar.FILES["cifar100"]),
        ("mnist", [f"mnist/{name}.gz" for name in mnist.FILES]),
        ("imagenet", ["imagenet/train/n01440764/a.JPEG", "imagenet/val/n01440764/b.JPEG"]),
    ],
)
def test_place_that_is_a_data_sets_own_folder_is_refused_with_the_one_above(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: Sequence[str]
) -> None:
    above = project / "data"
    for each in files:
        (above / each).parent.mkdir(parents=True, exist_ok=True)
        (above / each).touch()
    own = Path(files[0]).parts[0]
    (above / "link").symlink_to(own)
    for named in (above / own, above / "link"):
        monkeypatch.setenv("KDBENCH_DATA", str(named))
        told = f"error: {named}: this is the data set's own folder ({own}); name the one above, {above}, in "
        for words in (("list",), ("fetch", name)):
            done = kdbench("data", *words)
            assert (done.code, done.err.startswith(told)) == (2, True), done.err
    monkeypatch.setenv("KDBENCH_DATA", str(above))
    assert kdbench("data", "list").code == 0
