"""Crop, flip and rotation as one map from a pixel to its source, in Pillow's fixed-point arithmetic.

Pillow rotates by looking up, for the centre of each output pixel, the input pixel it comes from: a matrix
in double precision (`Image.rotate`), then 16.16 fixed point (`affine_fixed` in its Geometry.c):

    column = (a2 + a1 y + a0 x) >> 16        row = (a5 + a4 y + a3 x) >> 16

A flip before the rotation is W - 1 - column. Because -1 - (v >> 16) = (-1 - v) >> 16, that is again such
a map, with a0 and a1 negated and a2 replaced by (W << 16) - 1 - a2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdbench.data import random

_ONE = 65536


@dataclass(frozen=True)
class Draws:
    """What an epoch does to each sample; arrays of shape (n,), in the order of the data set."""

    top: NDArray[np.int64]
    """The first row of the crop in the padded image."""
    left: NDArray[np.int64]
    """The first column of the crop in the padded image."""
    flip: NDArray[np.bool_]
    angle: NDArray[np.float64]
    """Degrees, counter-clockwise."""


def draw(seed: int, epoch: int, n: int, *, crop: int, flip: bool, rotation: float) -> Draws:
    """What an epoch draws: offsets uniform in 0 .. 2 crop, flips half of the time, angles in +-rotation."""
    heads = random.bits(seed, "flip", epoch, n) >> np.uint64(63)
    return Draws(
        top=random.integers(seed, "top", epoch, n, high=2 * crop + 1),
        left=random.integers(seed, "left", epoch, n, high=2 * crop + 1),
        flip=heads.astype(bool) & flip,
        angle=(2 * random.uniform(seed, "angle", epoch, n) - 1) * rotation,
    )


def coefficients(draws: Draws, height: int, width: int) -> NDArray[np.int32]:
    """Pillow's a0 .. a5 of each sample, the flip included; shape (n, 6).

    A cosine of numpy may differ from the C library's in its last bit. Two roundings, to 15 digits and to
    1/65536, hide that but for about one angle in 10**9.
    """
    turn = -np.radians(draws.angle % 360.0)
    cos, sin = np.round(np.cos(turn), 15), np.round(np.sin(turn), 15)
    x, y = width / 2, height / 2
    # The sums in Pillow's order: floating-point addition is not associative.
    column = (cos * -x + sin * -y + 0.0) + x
    row = (-sin * -x + cos * -y + 0.0) + y
    a = np.stack([cos, sin, column + cos * 0.5 + sin * 0.5, -sin, cos, row + -sin * 0.5 + cos * 0.5], axis=1)
    fixed = np.floor(a * _ONE + 0.5).astype(np.int32)
    return _flipped(fixed, draws.flip, width)


def _flipped(a: NDArray[np.int32], flip: NDArray[np.bool_], width: int) -> NDArray[np.int32]:
    a[flip, :2] *= -1
    a[flip, 2] = width * _ONE - 1 - a[flip, 2]
    return a
