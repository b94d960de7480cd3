"""The reader of MXNet's `.params`: what it reads, and that nothing in a file can harm."""

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from kdbench.errors import UserError
from kdbench.importing.mxnet import read_params
from tests.support import mxnet
from tests.support.refused import problems_of

SMALL = {
    "arg:net_conv0_weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "aux:net_mean": np.ones(2, "<f8"),
}
GOOD = mxnet.params(SMALL)
TYPED = st.sampled_from(sorted(mxnet.TYPES)).flatmap(lambda kind: arrays(kind, array_shapes(max_side=4)))


def refused(content: bytes) -> str:
    (problem,) = problems_of(read_params, content, "a.params")
    assert problem.startswith("a.params: no whole MXNet .params file: ")
    return problem


def test_arrays_are_read_without_the_prefix_of_their_names() -> None:
    found = read_params(GOOD, "a.params")
    assert list(found) == ["net_conv0_weight", "net_mean"]
    assert found["net_conv0_weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["net_mean"].dtype == np.float64


@given(st.dictionaries(st.text(max_size=20).filter(lambda name: ":" not in name), TYPED, max_size=4))
def test_what_mxnet_writes_is_read_back(written: dict[str, NDArray[Any]]) -> None:
    found = read_params(mxnet.params(written), "a.params")
    assert list(found) == list(written)
    for name, values in written.items():
        np.testing.assert_array_equal(found[name], values)


@given(st.integers(0, len(GOOD) - 1))
def test_every_shorter_file_is_refused(length: int) -> None:
    refused(GOOD[:length])


@settings(max_examples=100)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(at: int, value: int) -> None:
    changed = bytearray(GOOD)
    changed[at] = value
    with suppress(UserError):
        found = read_params(bytes(changed), "a.params")
        assert sum(array.nbytes for array in found.values()) <= len(GOOD)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_after_a_good_head_are_refused(noise: bytes) -> None:
    refused(struct.pack("<QQQ", 0x112, 0, 1) + noise)


def one(change: Callable[[bytearray], None]) -> bytes:
    content = bytearray(struct.pack("<QQQ", 0x112, 0, 1) + mxnet.array(np.ones(2, "f4")))
    change(content)
    return bytes(content)


def put(at: int, variant: str, value: int) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into("<" + variant, content, at, value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04" + bytes(40), "it begins with 0x4034b50, 0x0 instead of 0x112, 0x0"),
        (struct.pack("<QQQ", 0x112, 0, 2**60), "the number of arrays is 1,152,921,504,606,846,976"),
        (one(put(24, "I", 0xF993FAC8)), "an array begins with 0xf993fac8 instead of 0xf993fac9"),
        (one(put(28, "i", 1)), "an array is stored sparsely (type 1)"),
        (one(put(32, "I", 0)), "an array has 0 dimensions; valid: 1 to 8"),
        (one(put(32, "I", 2**31)), "an array has 2147483648 dimensions; valid: 1 to 8"),
        (one(put(36, "q", -1)), "an array has the shape (-1,)"),
        (
            one(put(36, "q", 2**62)),
            "an array of shape (4611686018427387904,) needs 18,446,744,073,709,551,616 bytes",
        ),
        (one(put(52, "i", 7)), "the elements of an array are of type 7"),
        (GOOD + b"\0", "1 bytes follow its end"),
        (mxnet.params({"arg:a": np.ones(1), "aux:a": np.ones(1)}), "the name 'a' stands twice"),
    ],
    ids=[
        "zip",
        "arrays",
        "magic",
        "sparse",
        "no shape",
        "dimensions",
        "negative",
        "huge",
        "type",
        "tail",
        "twice",
    ],
)
def test_broken_file_is_refused_with_the_place(content: bytes, why: str) -> None:
    assert why in refused(content)


def test_number_of_names_must_be_that_of_the_arrays() -> None:
    content = struct.pack("<QQQ", 0x112, 0, 1) + mxnet.array(np.ones(2, "f4")) + struct.pack("<Q", 0)
    assert "1 arrays have 0 names" in refused(content)


def test_name_that_is_not_utf8_is_refused() -> None:
    assert "a name is not UTF-8" in refused(GOOD.replace(b"net_mean", b"net\xff\xfe\xfd\xfcn"))
