"""MNIST (LeCun, Cortes, Burges, 1998) from its official files, and the same images at 7x7 pixels.

The official facts - addresses, names, checksums of the .gz files - are torchvision's
(torchvision/datasets/mnist.py), written down here: importing torchvision takes 9 s.
"""

import gzip
import zlib
from math import prod

import numpy as np
from numpy.typing import NDArray

from kdbench.data.disk import Arrays, write_whole
from kdbench.data.fetch import Fetcher, Official
from kdbench.errors import UserError
from kdbench.formatting import plural

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
FILES = {
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}
"""The md5 of each file as it is published (.gz), and of what is in it."""
FOLDER = "mnist"
"""Below the place of the data: other data sets have files of these names too."""
LIMIT = 1 << 26
"""Bytes that no file exceeds, packed or unpacked."""
AGAIN = "Delete it and run `kdbench data fetch` again."
TAPS = np.array([1, 3, 5, 7, 7, 5, 3, 1])
"""Of a triangle of half-width 4 around the centre of 4 pixels, in units of 1/8."""


def mnist(fetcher: Fetcher) -> Arrays:
    """60,000 training and 10,000 test images of 10 digits, 28x28.

    Raises:
        UserError: an official file is altered, or cannot be had.
    """
    found: Arrays = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = _read(f"{stem}-images-idx3-ubyte", 3, fetcher)
        labels = _read(f"{stem}-labels-idx1-ubyte", 1, fetcher)
        found[f"{split}_images"] = images[:, None]
        found[f"{split}_labels"] = labels.astype(np.int64)
    return found


def mnist_7x7(fetcher: Fetcher) -> Arrays:
    """The same images at a quarter of the side (`downscale`), uint8 (N, 1, 7, 7).

    Raises:
        UserError: an official file is altered, or cannot be had.
    """
    found = mnist(fetcher)
    return found | {name: downscale(found[name]) for name in ("train_images", "test_images")}


def downscale(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (N, 1, 28, 28) at a quarter of the side, bilinear and antialiased, to the nearest level.

    Pillow's BILINEAR, which scipy.misc.imresize(..., 25) calls, in whole numbers: a pixel is the mean of the
    8x8 pixels around it, weighted by a triangle in each direction; what lies outside the image has no weight.
    (Pillow's own values, float32, are the same before they are rounded to levels: tests/data/test_mnist.py.)
    """
    weights = np.zeros((7, 28), np.int64)
    for row in range(7):
        inside = [tap for tap in range(8) if 0 <= 4 * row - 2 + tap < 28]
        weights[row, [4 * row - 2 + tap for tap in inside]] = TAPS[inside]
    total = weights.sum(axis=1)
    area = total[:, None] * total[None, :]
    summed = weights @ images.astype(np.int64) @ weights.T
    levels: NDArray[np.uint8] = ((2 * summed + area) // (2 * area)).astype(np.uint8)
    return levels


def parse_idx(content: bytes, dimensions: int, name: str) -> NDArray[np.uint8]:
    """What a file in the idx format holds: unsigned bytes in so many dimensions.

    The header is two zero bytes, the type (8: unsigned byte), the number of dimensions and the size of each,
    4 bytes, most significant first.

    Args:
        content: the whole file.
        dimensions: how many it must have: 3 for images, 1 for labels.
        name: the file's, for the error.

    Raises:
        UserError: the header is another one, or the content has another length than it says.
    """
    start = 4 + 4 * dimensions
    magic, wanted = content[:4].hex(), f"000008{dimensions:02x}"
    if magic != wanted or len(content) < start:
        raise UserError(
            f"{name}: its idx header begins with {magic or 'nothing'} instead of {wanted}: unsigned bytes in "
            f"{plural(dimensions, 'dimension')}. {AGAIN}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if prod(shape) != len(content) - start:
        raise UserError(
            f"{name}: its idx header says {' x '.join(map(str, shape))} bytes, {len(content) - start} "
            f"follow. {AGAIN}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def files(_pack: str) -> tuple[str, ...]:
    """The official files, unpacked, by name below the place of the data."""
    return tuple(f"{FOLDER}/{name}" for name in FILES)


def other_files(_pack: str) -> list[tuple[str, ...]]:
    """What may lie there instead: the same, as they are published."""
    return [tuple(f"{FOLDER}/{name}.gz" for name in FILES)]


def sources(pack: str) -> dict[str, str]:
    """The checksums of what a pack is made of, by name."""
    made = {} if pack == "mnist" else {"downscale": "bilinear, antialiased, 28 to 7, to the nearest level"}
    return {name: content for name, (_, content) in FILES.items()} | made


def _read(name: str, dimensions: int, fetcher: Fetcher) -> NDArray[np.uint8]:
    """An official file: as it lies there unpacked, or from its .gz, which is fetched if need be."""
    published, content = FILES[name]
    path = fetcher.place / FOLDER / name
    if not path.exists():
        archive = fetcher.archive(
            Official(
                archive=f"{FOLDER}/{name}.gz",
                md5=published,
                url=f"{MIRRORS[0]}{name}.gz",
                others=tuple(f"{mirror}{name}.gz" for mirror in MIRRORS[1:]),
                limit=LIMIT,
            )
        )
        write_whole(path, _unpacked(archive.read_bytes(), str(archive)))
    return parse_idx(fetcher.verified(f"{FOLDER}/{name}", content), dimensions, str(path))


def _unpacked(packed: bytes, name: str) -> bytes:
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{name}: refused, it cannot be read ({error}). {AGAIN}") from error
