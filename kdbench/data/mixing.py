"""mixup and CutMix of a batch: what torchvision's transforms v2 do, with draws of our own stream.

Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018 (arXiv 1710.09412); Yun et al., CutMix,
ICCV 2019 (arXiv 1905.04899). As in torchvision, one λ ~ Beta(α, α) for a batch, whose images are each mixed
with the one before them (the first with the last): the order of an epoch is random. Where a recipe has both,
a batch gets one of them, each half of the time, as in torchvision's reference script.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from kdbench.data import random
from kdbench.data.views import Share


class Mix(NamedTuple):
    """How a batch is mixed."""

    share: float
    """λ, what an image keeps of itself; the rest is its partner's."""
    box: tuple[int, int, int, int] | None = None
    """CutMix: the first row and column that are the partner's, and the first ones behind them."""

    def mixed(self, x: Tensor, partners: Tensor) -> Tensor:
        """Images (B, C, H, W), each with its partner in it."""
        if self.box is None:
            return partners.mul(1 - self.share).add_(x.mul(self.share))
        top, left, bottom, right = self.box
        found = x.clone()
        found[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
        return found


@dataclass(frozen=True)
class Mixing:
    """How a recipe mixes its batches: a function of (seed, epoch, number of the batch)."""

    seed: int
    mixup: float
    """α (0: not)."""
    cutmix: float

    def of_batch(self, epoch: int, number: int, height: int, width: int) -> Mix:
        """The mix of a batch, counted from 0, of images of this size."""
        from scipy.special import betaincinv

        def draw(stream: str) -> float:
            return float(random.uniform(self.seed, f"mix {stream}", epoch, number + 1)[number])

        # λ ~ Beta(α, α) by the inverse of its distribution: one uniform number, a function of (seed, epoch,
        # batch)
        cuts = self.cutmix > 0 and (self.mixup == 0 or draw("which") < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = float(betaincinv(alpha, alpha, draw("share")))
        return box_of(share, draw("row"), draw("column"), height, width) if cuts else Mix(share)


def box_of(share: float, row: float, column: float, height: int, width: int) -> Mix:
    """CutMix's box around a centre, given as parts of height and width: cut at the border, as λ then is."""
    half = 0.5 * sqrt(1 - share)
    y = int(row * height)
    x = int(column * width)
    up = int(half * height)
    aside = int(half * width)
    box = (max(y - up, 0), max(x - aside, 0), min(y + up, height), min(x + aside, width))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return Mix(1 - area / (height * width), box)


def with_partner(share: Share) -> Callable[[int], Tensor]:
    """A share of a batch, and before it the image that its first one is mixed with.

    Example: of a batch of 8, the images 4 to 7 become 3 to 7, and 0 to 3 become 7, 0, 1, 2, 3.
    """

    def here(images: int) -> Tensor:
        own = range(images)[share(images)]
        return torch.arange(own.start - 1, own.stop) % images

    return here
