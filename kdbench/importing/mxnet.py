"""MXNet's binary `.params`: a list of dense arrays and their names. Reads bytes only, runs nothing.

The layout, little-endian, as MXNet 1.x writes it:

    list   uint64 0x112, uint64 0, uint64 number of arrays, the arrays, uint64 number of names, the names
    array  uint32 magic, int32 storage (0: dense), uint32 dimensions, int64 each, int32 device type,
           int32 device number, int32 type of the elements, the elements
    name   uint64 length, UTF-8
"""

import struct
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import UserError

LIST = 0x112
MAGICS = {0xF993FAC9, 0xF993FACA}
"""Of arrays by MXNet 1.0 and later, and by those of 1.6 and later in NumPy's semantics."""
TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8"}
MOST_ARRAYS = 100_000
MOST_DIMENSIONS = 8
LONGEST_NAME = 1_000


class _Reader:
    """A place in the bytes; whatever goes beyond their end is a mistake of the file."""

    def __init__(self, content: bytes, refuse: Callable[[str], UserError]) -> None:
        self.content, self.refuse, self.at = content, refuse, 0

    def take(self, size: int, what: str) -> memoryview:
        """The next bytes."""
        left = len(self.content) - self.at
        if size > left:
            raise self.refuse(f"{what} needs {size:,} bytes at byte {self.at:,}, where {left:,} are left")
        self.at += size
        return memoryview(self.content)[self.at - size : self.at]

    def numbers(self, variant: str, what: str) -> tuple[Any, ...]:
        """The next numbers, in the words of `struct`."""
        return struct.unpack("<" + variant, self.take(struct.calcsize("<" + variant), what))

    def count(self, what: str, most: int) -> int:
        """The next uint64, which counts something."""
        number: int = self.numbers("Q", what)[0]
        if number > most:
            raise self.refuse(f"{what} is {number:,}; at most {most:,}")
        return number


def read_params(content: bytes, path: str) -> dict[str, NDArray[Any]]:
    """The arrays of a `.params` file, by name without `arg:` and `aux:`.

    Args:
        content: the whole file.
        path: how messages call it.

    Raises:
        UserError: it is no such file, or broken; says where.
    """

    def refuse(why: str) -> UserError:
        return UserError(f"{path}: no whole MXNet .params file: {why}; fetch it again")

    reader = _Reader(content, refuse)
    magic, reserved = reader.numbers("QQ", "the head")
    if (magic, reserved) != (LIST, 0):
        raise refuse(f"it begins with {magic:#x}, {reserved:#x} instead of {LIST:#x}, 0x0")
    arrays = [_array(reader) for _ in range(reader.count("the number of arrays", MOST_ARRAYS))]
    names = [_name(reader) for _ in range(reader.count("the number of names", MOST_ARRAYS))]
    if len(names) != len(arrays):
        raise refuse(f"{len(arrays)} arrays have {len(names)} names")
    if reader.at != len(content):
        raise refuse(f"{len(content) - reader.at:,} bytes follow its end")
    found = dict(zip(names, arrays, strict=True))
    if len(found) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise refuse(f"the name {twice!r} stands twice")
    return found


def _array(reader: _Reader) -> NDArray[Any]:
    """One dense array at the reader's place: magic, storage, shape, device, type, elements."""
    magic, storage, dimensions = reader.numbers("IiI", "the head of an array")
    if magic not in MAGICS:
        raise reader.refuse(f"an array begins with {magic:#x} instead of 0xf993fac9")
    if storage != 0:
        raise reader.refuse(f"an array is stored sparsely (type {storage}); only dense ones can be read")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise reader.refuse(f"an array has {dimensions} dimensions; valid: 1 to {MOST_DIMENSIONS}")
    # A shape may ask for any number of elements: `take` holds it against the bytes that are left.
    shape = reader.numbers(f"{dimensions}q", "a shape")
    if min(shape) < 1:
        raise reader.refuse(f"an array has the shape {shape}")
    kind = reader.numbers("iii", "device and type of an array")[2]
    if kind not in TYPES:
        raise reader.refuse(
            f"the elements of an array are of type {kind}; valid: {', '.join(map(str, TYPES))}"
        )
    dtype = np.dtype(TYPES[kind])
    elements = reader.take(prod(shape) * dtype.itemsize, f"an array of shape {shape}")
    return np.frombuffer(elements, dtype).reshape(shape)


def _name(reader: _Reader) -> str:
    length = reader.count("the length of a name", LONGEST_NAME)
    try:
        name = str(reader.take(length, "a name"), "utf-8")
    except UnicodeDecodeError as error:
        raise reader.refuse(f"a name is not UTF-8 ({error.reason})") from error
    return name.removeprefix("arg:").removeprefix("aux:")
