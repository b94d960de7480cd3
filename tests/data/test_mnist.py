"""MNIST: idx files, read without trusting them, fetched from the second mirror; 7x7 pixels as Pillow's."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdbench import catalog
from kdbench.data import mnist, packed
from kdbench.data.download import md5_of
from kdbench.data.fetch import Fetcher
from kdbench.data.mnist import downscale, parse_idx
from kdbench.data.packed import Dataset, open_dataset
from kdbench.errors import UserError
from tests.support.data import unpack_real_mnist
from tests.support.server import Server


def idx(*shape: int, kind: int = 8, more: bytes = b"") -> bytes:
    """A file in the idx format: 0, 1, 2 ..."""
    header = bytes([0, 0, kind, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return header + bytes(number % 256 for number in range(int(np.prod(shape)))) + more


def test_idx_is_read_as_it_says() -> None:
    assert parse_idx(idx(2, 2, 3), 3, "a").tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "begins with nothing instead of 00000803: unsigned bytes in 3 dimensions"),
        (gzip.compress(idx(2, 2, 3)), "begins with 1f8b0"),
        (idx(12), "begins with 00000801 instead of 00000803"),
        (idx(2, 2, 3, kind=13), "begins with 00000d03 instead of 00000803"),
        (idx(2, 2, 3)[:12], "begins with 00000803 instead of"),
        (idx(2, 2, 3)[:-1], "says 2 x 2 x 3 bytes, 11 follow"),
        (idx(2, 2, 3, more=b"x"), "says 2 x 2 x 3 bytes, 13 follow"),
        (b"<html>not found</html>", "begins with 3c68746d instead of"),
    ],
)
def test_other_idx_files_are_refused(content: bytes, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong) as error:
        parse_idx(content, 3, "mnist/train-images-idx3-ubyte")
    assert str(error.value).startswith("mnist/train-images-idx3-ubyte: its idx header ")
    assert str(error.value).endswith("Delete it and run `kdbench data fetch` again.")


def test_downscaled_images_are_pillows_to_the_nearest_level() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 28, 28), dtype=np.uint8)
    for image, ours in zip(images[:, 0], downscale(images)[:, 0], strict=True):
        theirs = Image.fromarray(image.astype(np.float32)).resize((7, 7), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(theirs) - ours).max() <= 0.5 + 1e-4


def test_downscaling_keeps_an_even_image() -> None:
    assert np.unique(downscale(np.full((1, 1, 28, 28), 77, np.uint8))).tolist() == [77]


def test_official_files_are_those_torchvision_names() -> None:
    from torchvision.datasets import MNIST

    assert tuple(MNIST.mirrors) == mnist.MIRRORS
    assert [(f"{name}.gz", md5s[0]) for name, md5s in mnist.FILES.items()] == MNIST.resources


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the official files, unpacked."""
    folder = tmp_path_factory.mktemp("real")
    unpack_real_mnist(folder)
    return folder


@pytest.fixture(scope="module")
def small(real: Path) -> Dataset:
    return open_dataset("mnist_7x7", Fetcher(place=real, offline=True))


@pytest.mark.real
def test_mnist_content_is_pinned_and_equals_torchvisions(real: Path, tmp_path: Path) -> None:
    from torchvision.datasets import MNIST

    opened = open_dataset("mnist", Fetcher(place=real, offline=True))
    assert opened.content == packed.CONTENT["mnist"]
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / "raw").symlink_to(real / "mnist")
    theirs = MNIST(str(tmp_path), train=False, download=False)
    assert np.array_equal(opened.test_images[:, 0].numpy(), theirs.data.numpy())
    assert opened.test_labels.tolist() == theirs.targets.tolist()


@pytest.mark.real
@pytest.mark.parametrize("name", ["mnist", "mnist_7x7"])
def test_statistics_are_those_of_the_training_images(real: Path, name: str) -> None:
    pixels = open_dataset(name, Fetcher(place=real, offline=True)).train_images.double() / 255
    entry = catalog.DATASETS[name]
    assert [float(pixels.mean())] == pytest.approx(entry.mean, abs=5e-5)
    assert [float(pixels.std(correction=0))] == pytest.approx(entry.std, abs=5e-5)


@pytest.mark.real
def test_small_images_are_those_of_the_same_index(real: Path, small: Dataset) -> None:
    large = open_dataset("mnist", Fetcher(place=real, offline=True))
    assert small.train_labels.equal(large.train_labels)
    assert np.array_equal(downscale(large.train_images[:50].numpy()), small.train_images[:50].numpy())


@pytest.mark.real
def test_files_are_fetched_from_the_second_mirror(
    real: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one does not know them. The content of what is published has an md5 of its own."""
    published = {}
    for name, (_, content) in mnist.FILES.items():
        packed_file = tmp_path / f"{name}.gz"
        packed_file.write_bytes(gzip.compress((real / "mnist" / name).read_bytes(), 1))
        server.files[f"/second/{name}.gz"] = packed_file.read_bytes()
        published[name] = (md5_of(packed_file), content)
    monkeypatch.setattr(mnist, "FILES", published)
    monkeypatch.setattr(mnist, "MIRRORS", (server.url("/first/"), server.url("/second/")))
    assert open_dataset("mnist", Fetcher(place=tmp_path)).content == packed.CONTENT["mnist"]
    assert (
        open_dataset("mnist_7x7", Fetcher(place=tmp_path, offline=True)).content
        == packed.CONTENT["mnist_7x7"]
    )


@pytest.mark.real
def test_altered_official_file_is_refused(real: Path, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    for name in mnist.FILES:
        (tmp_path / "mnist" / name).symlink_to(real / "mnist" / name)
    altered = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    altered.unlink()
    altered.write_bytes(idx(60_000))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte: not the official file: its md5 is"):
        open_dataset("mnist", Fetcher(place=tmp_path, offline=True))


def test_damaged_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist").mkdir()
    damaged = gzip.compress(idx(2, 2, 3))[:-9]
    name = "train-images-idx3-ubyte"
    archive = tmp_path / "mnist" / f"{name}.gz"
    archive.write_bytes(damaged)
    files = mnist.FILES | {name: (md5_of(archive), mnist.FILES[name][1])}
    monkeypatch.setattr(mnist, "FILES", files)
    with pytest.raises(UserError, match=rf"{name}.gz: refused, it cannot be read"):
        open_dataset("mnist", Fetcher(place=tmp_path, offline=True))


def test_offline_without_files_says_where_they_go(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mnist/train-images-idx3-ubyte\.gz: not found below .* offline"):
        open_dataset("mnist", Fetcher(place=tmp_path, offline=True))
