"""Images of many sizes: decoded and resized once, kept as shards of raw pixels, mapped into memory.

    PACK.v1/train.0000.safetensors    pixels: uint8, flat, (H, W, 3) of each image; sizes: int32 (n, 2)

An image is stored with the data set's shorter side, resized bilinearly by Pillow. A shard is written whole
or not at all and names what it was made of, so packing that broke off goes on with the shard after. The
packed file beside them holds the labels, the sizes and the sha256 of each shard.

Packing attains 170 photographs of 500 x 375 a second of CPU time, on as many threads as there are cores.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from kdbench.data.disk import Arrays, write_whole
from kdbench.data.fetch import Fetcher
from kdbench.data.images import as_text, decode, interleaved, shortened
from kdbench.data.progress import Report, reporting
from kdbench.errors import UserError
from kdbench.store.files import digest

if TYPE_CHECKING:
    from torch import Tensor


Split = Literal["train", "test"]
LAYOUT = 1
SIDE = 256
"""The shorter side of a stored image, in pixels."""
SHARD = 1024
"""Images of a shard: about a quarter of a gigabyte."""
_ASPECT = 4 / 3
"""Of a photograph, to estimate how much room pixels take."""


Member = tuple[Path, int, int]
"""A file inside an archive that is not compressed: the archive, where the file begins, its bytes.
Or a file that lies elsewhere than its name says, which begins at 0.
"""


@dataclass(frozen=True)
class Listing:
    """Image files below a folder, with their labels."""

    files: tuple[str, ...]
    labels: NDArray[np.int64]
    members: Mapping[str, Member] = field(default_factory=dict)
    """Where those lie that are not below the folder by their names, but in an archive or elsewhere."""

    def interleaved(self) -> "Listing":
        """The same, classes taking turns."""
        order = interleaved(self.labels)
        return Listing(tuple(self.files[i] for i in order), self.labels[order], self.members)

    def size(self, folder: Path, name: str) -> int:
        """Bytes of a file.

        Raises:
            UserError: it is not there.
        """
        if name in self.members:
            return self.members[name][2]
        try:
            return (folder / name).stat().st_size
        except FileNotFoundError as error:
            raise UserError(f"{folder / name}: this image is listed and not there; fetch it again") from error

    def where(self, folder: Path, name: str) -> str:
        """A file's place, for a person."""
        if name not in self.members:
            return str(folder / name)
        archive, start, _ = self.members[name]
        return f"{archive}, {Path(name).name}" if start else str(archive)

    def read(self, folder: Path, name: str) -> bytes:
        """The content of a file."""
        if name not in self.members:
            return (folder / name).read_bytes()
        archive, start, size = self.members[name]
        with archive.open("rb") as file:
            file.seek(start)
            return file.read(size)


def stored() -> dict[str, str]:
    """How images are stored: part of what a data set is made of."""
    return {"shorter side": f"{SIDE}, bilinear"}


def pack_shards(
    pack: str, folder: Path, splits: Mapping[Split, Listing], names: Sequence[str], fetcher: Fetcher
) -> Arrays:
    """Write the shards of a data set and give what its packed file holds.

    Args:
        pack: the packed file's stem.
        folder: what the files of the listings are in.
        splits: the training and the test images, in the order in which they are to be stored.
        names: the classes' names, in the order of the labels.
        fetcher: where the data lie.

    Raises:
        UserError: an image is damaged, or there is not enough room.
    """
    _check_room(fetcher.place, pack, sum(len(split.files) for split in splits.values()))
    arrays: Arrays = {"names": as_text(names)}
    for split, listing in splits.items():
        with reporting(f"{pack}, {split}", wanted=fetcher.progress) as report:
            sizes, digests = _write_split(pack, split, folder, listing, fetcher.place, report)
        arrays |= {f"{split}_labels": listing.labels, f"{split}_sizes": sizes, f"{split}_shards": digests}
    return arrays


def path(place: Path, pack: str, split: Split, number: int) -> Path:
    """Where a shard lies."""
    return place / f"{pack}.v{LAYOUT}" / f"{split}.{number:04}.safetensors"


class Images:
    """Images of many sizes, each uint8 (3, H, W), mapped from the shards.

    A slice, or a tensor of places int64 (n,), gives images again: `images[torch.tensor([5, 0])]` are two, the
    sixth first. Nothing is copied.

    Raises:
        UserError: a shard is missing or has not the length that it says.
    """

    def __init__(self, place: Path, pack: str, split: Split, sizes: NDArray[np.int32]) -> None:
        self.sizes = sizes
        self.numbers = np.arange(len(sizes))  # which of the stored images lies at each place
        shards = range((len(sizes) + SHARD - 1) // SHARD)
        self._shards = [_mapped(path(place, pack, split, number)) for number in shards]
        # Where image i begins and ends within its own shard: sums of sizes that start anew with each shard.
        pixels = 3 * sizes.astype(np.int64).prod(axis=1)
        within = [np.cumsum(pixels[SHARD * number :][:SHARD]) for number in shards]
        self._ends = np.concatenate(within) if within else pixels
        self._starts = self._ends - pixels
        for number, ends in zip(shards, within, strict=True):
            if len(self._shards[number]) != ends[-1]:
                raise UserError(_refusal(path(place, pack, split, number), "it has not its images' length"))

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> "Tensor": ...
    @overload
    def __getitem__(self, index: "slice | Tensor") -> "Images": ...
    def __getitem__(self, index: "int | slice | Tensor") -> "Tensor | Images":
        if not isinstance(index, int):
            return self._chosen(index)
        number = self.numbers[index]
        height, width = self.sizes[index].tolist()
        flat = self._shards[number // SHARD][self._starts[number] : self._ends[number]]
        image: Tensor = flat.view(height, width, 3).permute(2, 0, 1)
        return image

    def _chosen(self, index: "slice | Tensor") -> "Images":
        places = index if isinstance(index, slice) else index.numpy()
        # the shards and their offsets are shared, by the stored number; sizes and numbers are by place
        part = copy(self)
        part.sizes = self.sizes[places]
        part.numbers = self.numbers[places]
        return part


def verify(place: Path, pack: str, split: Split, digests: NDArray[np.uint8]) -> None:
    """Hold every shard against its sha256; opening does not, which for ImageNet would take minutes.

    Raises:
        UserError: one is damaged or missing.
    """
    for number, known in enumerate(digests):
        file = path(place, pack, split, number)
        found = digest(file) if file.exists() else "nothing"
        if found != known.tobytes().hex():
            raise UserError(_refusal(file, f"it has the sha256 {found}, not {known.tobytes().hex()}"))


def _write_split(
    pack: str, split: Split, folder: Path, listing: Listing, place: Path, report: Report
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The sizes (n, 2) of the stored images and the sha256 (shards, 32) of their shards."""
    # A shard has SHARD images. One that is whole, and made of the same files, is left as it is: packing that
    # was stopped goes on where it was.
    bytes_of = [listing.size(folder, name) for name in listing.files]
    total = sum(bytes_of)
    done = 0
    sizes = []
    digests = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for number, start in enumerate(range(0, len(listing.files), SHARD)):
            chosen = slice(start, start + SHARD)
            file = path(place, pack, split, number)
            names = listing.files[chosen]
            made_of = _made_of(names, bytes_of[chosen])
            if _sizes(file, made_of) is None:  # not there, damaged, or of other files
                pixels = pool.map(partial(_pixels, listing, folder), names)
                _write_shard(file, pixels, made_of)
            sizes.append(_sizes(file, made_of))
            digests.append(np.frombuffer(bytes.fromhex(digest(file)), np.uint8))
            done += sum(bytes_of[chosen])
            report(done, total)
    return np.concatenate([part for part in sizes if part is not None]), np.stack(digests)


def _pixels(listing: Listing, folder: Path, name: str) -> NDArray[np.uint8]:
    """One image, (H, W, 3)."""
    return np.asarray(shortened(decode(listing.read(folder, name), listing.where(folder, name)), SIDE))


def _write_shard(file: Path, images: Iterator[NDArray[np.uint8]], made_of: str) -> None:
    from safetensors.numpy import save

    found = list(images)
    sizes = np.array([image.shape[:2] for image in found], np.int32)
    pixels = np.concatenate([image.reshape(-1) for image in found])
    write_whole(file, save({"pixels": pixels, "sizes": sizes}, metadata={"made_of": made_of}))


def _made_of(names: Sequence[str], sizes: Sequence[int]) -> str:
    """What a shard is made of: the sha256 of the stored side and the files' names and bytes."""
    return sha256(json.encode([LAYOUT, SIDE, names, sizes])).hexdigest()


def _sizes(file: Path, made_of: str) -> NDArray[np.int32] | None:
    """The sizes of a shard's images, if it is there and made of this."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as shard:
            same = (shard.metadata() or {}).get("made_of") == made_of
            sizes: NDArray[np.int32] | None = shard.get_tensor("sizes") if same else None
            return sizes
    except (OSError, SafetensorError):
        return None


def _mapped(file: Path) -> "Tensor":
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as shard:
            pixels: Tensor = shard.get_tensor("pixels")
            return pixels
    except (OSError, SafetensorError) as error:
        raise UserError(_refusal(file, f"it cannot be read ({error})")) from error


def _check_room(place: Path, pack: str, n: int) -> None:
    needed = int(n * 3 * SIDE * SIDE * _ASPECT)
    free = disk_usage(place).free
    there = sum(file.stat().st_size for file in place.glob(f"{pack}.v{LAYOUT}/*.safetensors"))
    if needed > free + there:
        raise UserError(
            f"{place}: {n:,} images take about {needed / 1e9:,.0f} GB once resized, {free / 1e9:,.0f} GB are "
            f"free; name another folder in KDBENCH_DATA or as `folder` under [data] in benchmark.toml"
        )


def _refusal(file: Path, why: str) -> str:
    name = file.parent.name
    return f"{file}: refused, {why}. Delete {name}.json and this file; it is then packed again."
