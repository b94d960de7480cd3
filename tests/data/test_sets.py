"""Tiny-ImageNet, CUB-200, Cars and ImageNet end to end: fetched from a server, packed, opened, verified."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from msgspec.structs import replace

from kdbench import catalog
from kdbench.data import cars, cub, tinyimagenet
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
        return open_dataset(name, self.place, mirrors=self.mirrors())


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
def test_images_have_the_labels_that_their_colours_tell(published: Published, name: str) -> None:
    data = published.open(name)
    for split in ("train", "test"):
        assert [label for label, _ in colours(data, split)] == getattr(data, f"{split}_labels").tolist()


@pytest.mark.parametrize("name", ALL)
def test_training_classes_take_turns(published: Published, name: str) -> None:
    data = published.open(name)
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
        open_dataset(name, published.place)
    archives_of = list(published.files[name])
    assert len(error.value.problems) == len(archives_of)
    for archive, problem in zip(archives_of, error.value.problems, strict=True):
        assert problem.startswith(f"{archive} (md5 ")
        assert f"put it at {published.place / archive} by hand" in problem


@pytest.mark.parametrize("name", FETCHED)
def test_files_put_in_place_by_hand_are_taken_offline(published: Published, name: str) -> None:
    for archive, content in published.files[name].items():
        (published.place / archive).write_bytes(content)
    open_dataset(name, published.place, offline=True)
    assert published.server.asked == []


@pytest.mark.parametrize("name", ALL)
def test_packed_data_open_again_without_their_sources(published: Published, name: str) -> None:
    first = published.open(name)
    for path in published.place.iterdir():
        if path.name in published.files.get(name, {}) or path.name == "imagenet":
            path.rename(path.with_name(f"gone {path.name}"))
    rerun = open_dataset(name, published.place, offline=True)
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
        open_dataset("imagenet", tmp_path)
    train, val, where = error.value.problems
    assert train.endswith("train: 0 images in 0 folders, not 1,281,167 in 1,000")
    assert val.endswith("val: 0 images in 0 folders, not 50,000 in 1,000")
    assert f"{tmp_path}/imagenet/train/n01440764/*.JPEG" in where


def test_imagenet_that_lacks_an_image_is_refused(published: Published) -> None:
    next((published.place / "imagenet/train/n01000000").iterdir()).unlink()
    with pytest.raises(UserError, match="train: 5 images in 3 folders, not 6 in 3"):
        published.open("imagenet")


def test_imagenet_with_validation_images_in_one_folder_is_refused(published: Published) -> None:
    for file in (published.place / "imagenet/val").glob("*/*"):
        file.rename(published.place / "imagenet/val" / file.name)
    with pytest.raises(UserError, match="val: 0 images in 3 folders, not 3 in 3"):
        published.open("imagenet")


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
