"""What a view takes of an image: a random box of it, or its centre.

What torchvision's RandomResizedCrop, RandomHorizontalFlip, Resize and CenterCrop do, by its own functions,
with parameters from the counter-based stream: a pure function of (seed, epoch, index).
"""

from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data import random

AREA = (0.08, 1.0)
"""Shares of an image's area."""
ASPECT = (3 / 4, 4 / 3)
"""Width over height."""
_TRIES = 10


class Framing(Struct, frozen=True, kw_only=True):
    """How images are brought to the size that a network sees."""

    size: int
    """The side of a view, in pixels."""
    resize: int
    """The shorter side of an image before its centre is taken."""
    resized_crop: bool = False
    """A random area, position and aspect instead of the centre."""
    flip: bool = False
    """Horizontally, half of the time."""


@dataclass(frozen=True)
class Boxes:
    """What an epoch takes of each image, in pixels; arrays of shape (n,), in the order of the data set."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    flip: NDArray[np.bool_]


def draw_boxes(seed: int, epoch: int, sizes: NDArray[np.int32], *, flip: bool) -> Boxes:
    """RandomResizedCrop's draws, of images of these sizes, (n, 2) height and width.

    An area uniform in `AREA` and an aspect log-uniform in `ASPECT` are tried until the box fits, ten times
    at most; then it is the largest one at the centre within `ASPECT`.
    """
    height, width = sizes.astype(np.int64).T
    n = len(sizes)
    high, wide = _largest(height, width)
    placed = np.zeros(n, bool)
    for attempt in range(_TRIES):
        share = AREA[0] + (AREA[1] - AREA[0]) * random.uniform(seed, f"area{attempt}", epoch, n)
        low, up = np.log(ASPECT)
        aspect = np.exp(low + (up - low) * random.uniform(seed, f"aspect{attempt}", epoch, n))
        w, h = (np.rint(np.sqrt(height * width * share * by)).astype(np.int64) for by in (aspect, 1 / aspect))
        now = ~placed & (w > 0) & (w <= width) & (h > 0) & (h <= height)
        high[now], wide[now] = h[now], w[now]
        placed |= now
        if placed.all():
            break
    return Boxes(
        top=_offset(random.uniform(seed, "box top", epoch, n), height - high, placed),
        left=_offset(random.uniform(seed, "box left", epoch, n), width - wide, placed),
        height=high,
        width=wide,
        flip=(random.bits(seed, "flip", epoch, n) >> np.uint64(63)).astype(bool) & flip,
    )


def _largest(
    height: NDArray[np.int64], width: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Height and width of the largest box within `ASPECT`."""
    aspect = width / height
    high = np.where(aspect < ASPECT[0], np.rint(width / ASPECT[0]).astype(np.int64), height)
    wide = np.where(aspect > ASPECT[1], np.rint(height * ASPECT[1]).astype(np.int64), width)
    return high, wide


def _offset(
    share: NDArray[np.float64], room: NDArray[np.int64], placed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """A random offset in 0 .. room; the middle for what did not fit."""
    return np.where(placed, (share * (room + 1)).astype(np.int64), room // 2)


def crop(image: Tensor, boxes: Boxes, index: int, size: int) -> Tensor:
    """The view of an image that an epoch drew: uint8 (C, H, W) -> uint8 (C, size, size)."""
    from torchvision.transforms.v2 import functional as transforms

    top, left, height, width = (
        int(part[index]) for part in (boxes.top, boxes.left, boxes.height, boxes.width)
    )
    view: Tensor = transforms.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    return view.flip(-1) if boxes.flip[index] else view


def centre(image: Tensor, framing: Framing) -> Tensor:
    """The centre of an image, resized first: uint8 (C, H, W) -> uint8 (C, size, size)."""
    from torchvision.transforms.v2 import functional as transforms

    if min(image.shape[1:]) != framing.resize:
        image = transforms.resize(image, [framing.resize], antialias=True)
    view: Tensor = transforms.center_crop(image, [framing.size, framing.size])
    return view
