"""Shards: pixels as Pillow resizes them, written whole, gone on with, verified, refused when altered."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdbench.data import shards
from kdbench.data.fetch import Fetcher
from kdbench.data.images import as_text, decode, interleaved, shortened
from kdbench.data.shards import Images, Listing, pack_shards, path, verify
from kdbench.errors import UserError

SIDE = 32
"""Of the stored images, instead of 256: the same code with fewer pixels."""
SIZES = [(36, 24), (24, 36), (32, 32), (62, 32), (5, 11), (37, 33), (11, 5)]
"""Width and height of the published images."""


def noise(width: int, height: int, seed: int) -> Image.Image:
    drawn = np.random.default_rng(seed).integers(
        256, size=(height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8
    )
    return Image.fromarray(drawn).resize((width, height))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven images; a shard holds three."""
    monkeypatch.setattr(shards, "SHARD", 3)
    monkeypatch.setattr(shards, "SIDE", SIDE)
    (tmp_path / "from").mkdir()
    for number, size in enumerate(SIZES):
        noise(*size, number).save(tmp_path / "from" / f"{number}.png")
    return tmp_path / "from"


def pack(folder: Path) -> dict[str, Any]:
    files = tuple(f"{number}.png" for number in range(len(SIZES)))
    listing = Listing(files, np.arange(len(SIZES)))
    return pack_shards("small", folder, {"train": listing}, ["a", "b"], Fetcher(place=folder.parent))


def opened(folder: Path) -> Images:
    return Images(folder.parent, "small", "train", pack(folder)["train_sizes"])


def test_pixels_are_those_of_torchvisions_resize_on_pil(folder: Path) -> None:
    from torchvision.transforms import v2

    resize = v2.Resize(SIDE)
    images = opened(folder)
    assert len(images) == len(SIZES)
    for number in range(len(SIZES)):
        theirs = np.asarray(resize(decode((folder / f"{number}.png").read_bytes(), "")))
        assert np.array_equal(images[number].permute(1, 2, 0).numpy(), theirs)


def test_sizes_are_height_and_width(folder: Path) -> None:
    assert pack(folder)["train_sizes"][:3].tolist() == [[32, 48], [48, 32], [32, 32]]


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        (slice(4), [0, 1, 2, 3]),
        (slice(99), [0, 1, 2, 3, 4, 5, 6]),
        (slice(2, None, 3), [2, 5]),
        (torch.tensor([6, 0, 3]), [6, 0, 3]),
        (torch.tensor([], dtype=torch.int64), []),
    ],
)
def test_chosen_images_are_images_again(
    folder: Path, chosen: slice | torch.Tensor, numbers: list[int]
) -> None:
    """Out of three shards, with the sizes that each has; a choice of a choice too."""
    images = opened(folder)
    part = images[chosen]
    assert len(part) == len(part.sizes) == len(numbers)
    for place, number in enumerate(numbers):
        assert part[place].equal(images[number])
    if numbers:
        assert part[torch.tensor([len(numbers) - 1])][0].equal(images[numbers[-1]])


def test_last_image_ends_the_images(folder: Path) -> None:
    with pytest.raises(IndexError):
        opened(folder)[len(SIZES)]


def test_packing_goes_on_after_the_last_whole_shard(folder: Path) -> None:
    first = pack(folder)
    files = [path(folder.parent, "small", "train", number) for number in range(3)]
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-100])
    before = files[0].stat().st_mtime_ns
    rerun = pack(folder)
    assert files[0].stat().st_mtime_ns == before
    assert all(np.array_equal(first[name], rerun[name]) for name in first)


def test_shard_of_other_files_is_made_again(folder: Path) -> None:
    first = pack(folder)
    noise(36, 25, 9).save(folder / "1.png")
    rerun = pack(folder)
    assert first["train_sizes"][1].tolist() != rerun["train_sizes"][1].tolist() == [32, 46]
    same = [np.array_equal(a, b) for a, b in zip(first["train_shards"], rerun["train_shards"], strict=True)]
    assert same == [False, True, True]


def test_digests_are_those_of_the_files(folder: Path) -> None:
    digests = pack(folder)["train_shards"]
    for number, digest in enumerate(digests):
        content = path(folder.parent, "small", "train", number).read_bytes()
        assert digest.tobytes() == sha256(content).digest()
    verify(folder.parent, "small", "train", digests)


def test_altered_shard_is_refused_by_verify(folder: Path) -> None:
    digests = pack(folder)["train_shards"]
    file = path(folder.parent, "small", "train", 1)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.0001\.safetensors: refused, it has the sha256 .* Delete"):
        verify(folder.parent, "small", "train", digests)


@pytest.mark.parametrize("size", [0, 300, -1])
def test_truncated_shard_is_refused_at_once(folder: Path, size: int) -> None:
    sizes = pack(folder)["train_sizes"]
    file = path(folder.parent, "small", "train", 0)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match="refused, it cannot be read"):
        Images(folder.parent, "small", "train", sizes)


def test_shard_of_other_sizes_is_refused_at_once(folder: Path) -> None:
    sizes = pack(folder)["train_sizes"]
    sizes[0] += 1
    with pytest.raises(UserError, match="it has not its images' length"):
        Images(folder.parent, "small", "train", sizes)


def test_too_little_room_is_told_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "disk_usage", lambda _: type("Usage", (), {"free": 10**4}))
    with pytest.raises(UserError, match=r"7 images take about 0 GB once resized, 0 GB are free"):
        pack(folder)
    assert not list(folder.parent.glob("small.v1/*"))


def test_interleaved_takes_classes_in_turn() -> None:
    labels = [2, 2, 2, 0, 0, 1]
    order = interleaved(labels)
    assert [labels[i] for i in order] == [0, 1, 2, 0, 2, 2]
    assert order.tolist() == [3, 5, 0, 4, 1, 2]


def test_shortened_image_that_fits_is_the_same() -> None:
    image = noise(256, 300, 0)
    assert shortened(image, 256) is image


def test_text_of_names_is_a_name_a_line() -> None:
    assert bytes(as_text(["é", "b"])) == "é\nb".encode()
