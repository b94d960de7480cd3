"""RandAugment and random erasing on batches: what torchvision's transforms v2 do, each image by itself.

torchvision's own operations run on all images of a batch that drew the same one, so a batch costs about as
many calls as there are operations. An image comes out as it would alone, with the same draws. Those are, as
all others, a function of (seed, epoch, index).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data import random

AREA = (0.02, 0.33)
"""Of the image, that random erasing takes: torchvision's default, and so are the next two."""
ASPECT = (0.3, 3.3)
_TRIES = 10
MAGNITUDE = 9
"""Of RandAugment, of 0 to 30, unless the recipe says otherwise: torchvision's default."""


class Boxes(NamedTuple):
    """What is erased of each image of an epoch, in pixels, (n,) each; a height of 0: nothing is."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """What a recipe does to each training image after crop, flip and rotation."""

    seed: int
    operations: int
    """Of RandAugment, one after the other (0: none)."""
    magnitude: int
    erasing: float
    """The probability that a box of an image is erased."""

    def of_epoch(self, epoch: int, n: int, height: int, width: int) -> "Augmented":
        """The draws of an epoch for each of n images of this size, in the order of the data set."""
        drawn = [
            _operations(self.seed, f"randaugment {number}", epoch, n) for number in range(self.operations)
        ]
        boxes = _boxes(self.seed, epoch, n, height, width, self.erasing) if self.erasing else None
        return Augmented(drawn, self.magnitude, boxes)


@dataclass(frozen=True)
class Augmented:
    """An epoch's draws, and what they make of a batch."""

    operations: list[NDArray[np.int64]]
    """Of each of RandAugment's operations: which one an image gets, negative where its magnitude is, (n,)."""
    magnitude: int
    boxes: Boxes | None

    def normalised(
        self, images: Tensor, index: NDArray[np.int64], normalise: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """uint8 (B, C, H, W) -> float32: RandAugment's operations come before `normalise`, boxes after it."""
        return self.values(normalise(self.images(images, index)), index)

    def images(self, images: Tensor, index: NDArray[np.int64]) -> Tensor:
        """Of images before they are normalised, uint8 (B, C, H, W), with these indices: RandAugment's."""
        for drawn in self.operations:
            images = _operate(images, drawn[index], self.magnitude)
        return images

    def values(self, x: Tensor, index: NDArray[np.int64]) -> Tensor:
        """Of normalised images, float32 (B, C, H, W): a box is 0, as in torchvision's script."""
        if self.boxes is None:
            return x
        top, left, height, width = (
            torch.from_numpy(part[index])[:, None].to(x.device, non_blocking=True) for part in self.boxes
        )
        row, column = (torch.arange(side, device=x.device) for side in x.shape[2:])
        rows = (row >= top) & (row < top + height)
        columns = (column >= left) & (column < left + width)
        return x.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _operations(seed: int, stream: str, epoch: int, n: int) -> NDArray[np.int64]:
    """1 + the number of an operation, (n,), negative for half of them; not every operation has a sign."""
    chosen = 1 + random.integers(seed, stream, epoch, n, high=len(_space()))
    negative = random.bits(seed, f"{stream} sign", epoch, n) >> np.uint64(63)
    return np.where(negative.astype(bool), -chosen, chosen)


def _operate(images: Tensor, chosen: NDArray[np.int64], magnitude: int) -> Tensor:
    """Each image after its operation: those that got the same one, with the same sign, at once."""
    transform, names = _randaugment(), list(_space())
    changed = images.clone()
    # torchvision's operations take one magnitude for all images of a call; + 1 lets operation 0 have a sign
    for each in np.unique(chosen).tolist():
        strengths, signed = _space()[names[abs(each) - 1]]
        levels = strengths(transform.num_magnitude_bins, *images.shape[2:])
        level = 0.0 if levels is None else float(levels[magnitude])
        here = torch.from_numpy(np.flatnonzero(chosen == each)).to(images.device, non_blocking=True)
        changed[here] = transform._apply_image_or_video_transform(  # noqa: SLF001 - no public name does it
            images.index_select(0, here),
            names[abs(each) - 1],
            -level if signed and each < 0 else level,
            interpolation=transform.interpolation,
            fill=transform._fill,  # noqa: SLF001
        )
    return changed


@cache
def _randaugment() -> Any:  # noqa: ANN401 - torchvision has no types
    from torchvision.transforms.v2 import RandAugment

    return RandAugment()


def _space() -> Any:  # noqa: ANN401 - torchvision has no types
    """By the name of an operation: a function to its magnitudes, and whether they have a sign."""
    return _randaugment()._AUGMENTATION_SPACE  # noqa: SLF001 - no public name has it


def _boxes(seed: int, epoch: int, n: int, height: int, width: int, share: float) -> Boxes:
    """RandomErasing's draws: for a share of the images, a box that fits, tried ten times at most."""
    wanted = random.uniform(seed, "erase", epoch, n) < share
    high, wide = np.zeros(n, np.int64), np.zeros(n, np.int64)
    low, up = np.log(ASPECT)
    for attempt in range(_TRIES):
        part = AREA[0] + (AREA[1] - AREA[0]) * random.uniform(seed, f"erase area{attempt}", epoch, n)
        aspect = np.exp(low + (up - low) * random.uniform(seed, f"erase aspect{attempt}", epoch, n))
        h, w = (np.rint(np.sqrt(height * width * part * by)).astype(np.int64) for by in (aspect, 1 / aspect))
        now = wanted & (high == 0) & (h < height) & (w < width)
        high[now], wide[now] = h[now], w[now]
    # where nothing fits, height and width stay 0
    top = (random.uniform(seed, "erase top", epoch, n) * (height - high + 1)).astype(np.int64)
    left = (random.uniform(seed, "erase left", epoch, n) * (width - wide + 1)).astype(np.int64)
    return Boxes(top, left, high, wide)
