"""MXNet's `.params` files, written as MXNet writes them, for the tests of the reader."""

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}


def array(values: NDArray[np.generic], magic: int = 0xF993FAC9, storage: int = 0) -> bytes:
    """One array."""
    head = struct.pack(f"<IiI{values.ndim}q", magic, storage, values.ndim, *values.shape)
    return head + struct.pack("<iii", 1, 0, TYPES[str(values.dtype)]) + values.tobytes()


def params(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """A whole file."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(map(array, arrays.values()))
    names = [name.encode() for name in arrays]
    return content + struct.pack("<Q", len(names)) + b"".join(struct.pack("<Q", len(n)) + n for n in names)
