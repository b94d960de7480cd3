"""Batched views of a data set held as one tensor: random crop, flip and rotation in a single gather.

The order is that of Tf-KD's released code: RandomCrop with zero padding, RandomHorizontalFlip,
RandomRotation (nearest neighbour, zero fill), ToTensor, Normalize. For the same draws every pixel equals
that of torchvision's transforms on PIL images, bit for bit (tests/data/test_views.py).

Attains 60,000 to 80,000 views/s of 3x32x32 images at batch 128 on one CPU thread.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data import random
from kdbench.data.affine import Draws, coefficients, draw
from kdbench.data.augment import Augmentation

Batch = tuple[Tensor, Tensor, Tensor]
"""Images, float32 (B, C, H, W); labels, int64 (B,); indices in the data set, int64 (B,)."""

DRAWN = 2**14
"""Places in the order of epochs that are drawn at once."""
Share = Callable[[int], slice]
"""Of a batch of so many images, those that are wanted here; the draws are those of the whole."""

Places = Share | Callable[[int], Tensor]
"""The same, or their places in the batch."""

_PIXEL = {1: torch.uint8, 2: torch.int16, 3: torch.int32, 4: torch.int32}
"""All channels of a pixel in one integer: a gather costs as much for three channels as for one."""


AT_ONCE = 2**18
"""Values of test images that are normalised at once: 1 MiB."""


def whole(_images: int) -> slice:
    """The share that is all."""
    return slice(None)


@dataclass(frozen=True)
class Batching:
    """How images are cut into batches, and where these lie."""

    batch_size: int
    """The last batch may be short."""
    device: torch.device
    share: Places = whole
    """Of each batch, what is wanted here."""


class Epochs:
    """Training views, epoch by epoch."""

    labels: Tensor
    """Of every image of an epoch, in the order of the data set."""
    batching: Batching

    def __len__(self) -> int:
        """Batches of an epoch, the short last one included."""
        return ceil(len(self.labels) / self.batching.batch_size)

    def epoch(self, epoch: int, /) -> Iterator[Batch]:
        """Every image once, in the epoch's own order; of each batch only the share. Epochs count from 1."""
        raise NotImplementedError


class Normalise:
    """uint8 images to normalised float32 by a table of 256 values per channel.

    The table holds ToTensor's and Normalize's own arithmetic, done once on the CPU: exact, and the same
    on every device.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device | str) -> None:
        levels = torch.arange(256, dtype=torch.uint8).to(torch.float32).div(255).expand(len(mean), 256)
        column = torch.tensor([mean, std], dtype=torch.float32)[:, :, None]
        table = levels.sub(column[0]).div(column[1]).flatten()
        self.table = table.to(device, non_blocking=True)
        self.channels = len(mean)
        self.row = 256 * torch.arange(self.channels, dtype=torch.int32, device=device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) of any strides -> float32 (B, C, H, W), contiguous."""
        return self._look_up(images.to(torch.int32, memory_format=torch.contiguous_format))

    def unpack(self, pixels: Tensor) -> Tensor:
        """One integer per pixel (B, H, W), as of `PaddedImages`, -> float32 (B, C, H, W), contiguous."""
        return self._look_up(self.levels(pixels))

    def levels(self, pixels: Tensor) -> Tensor:
        """One integer per pixel (B, H, W), as of `PaddedImages`, -> int32 (B, C, H, W) from 0 to 255."""
        n, height, width = pixels.shape
        levels = pixels.new_empty((n, self.channels, height, width), dtype=torch.int32)
        # a channel is a byte of the integer: the first one lies lowest in memory, which is lowest in value on
        # most machines
        for channel in range(self.channels):
            byte = channel if sys.byteorder == "little" else pixels.itemsize - 1 - channel
            torch.bitwise_and(pixels >> 8 * byte if byte else pixels, 255, out=levels[:, channel])
        return levels

    def _look_up(self, levels: Tensor) -> Tensor:
        index = levels.add_(self.row)  # channel c has the rows 256 c to 256 c + 255 of the table
        return self.table.index_select(0, index.flatten()).view(levels.shape)


class PaddedImages:
    """Images on a device, each with a zero border as wide as the crop's padding, one integer per pixel."""

    def __init__(self, images: Tensor, crop: int, device: torch.device | str) -> None:
        n, self.channels, self.height, self.width = images.shape
        self.crop = crop
        self.row = self.width + 2 * crop
        self.image = self.row * (self.height + 2 * crop)
        self._check(n)
        self.pixels = _pixels(images, crop).to(device)
        self.x = torch.arange(self.width, dtype=torch.int32, device=device)
        self.y = torch.arange(self.height, dtype=torch.int32, device=device)

    def corner(self, index: NDArray[np.int64], draws: Draws) -> NDArray[np.int32]:
        """Where the crops of some images begin in `pixels`; shape (B,)."""
        # 1: before the first image lies the zero that stands for all that is outside (`_pixels`)
        start = 1 + index * self.image + draws.top[index] * self.row + draws.left[index]
        return start.astype(np.int32)

    def gather(self, corner: Tensor, a: Tensor) -> Tensor:
        """The views that begin at corner, int32 (B,), by Pillow's a, int32 (B, 6), as integers (B, H, W)."""
        column = self._plane(a[:, 0], a[:, 1], a[:, 2])
        row = self._plane(a[:, 3], a[:, 4], a[:, 5])
        # The sign bit of this is set where the source lies outside the crop. Such a pixel is taken from
        # index 0, which is zero: bitwise operations on integers, several times faster than masks.
        outside = column | (self.width - 1 - column)
        outside |= row
        outside |= self.height - 1 - row
        index = row.mul_(self.row).add_(column).add_(corner[:, None, None])
        # >> 31 makes -1 (all bits) of a sign and 0 of none; its inverse keeps an index or makes it 0
        index &= outside.bitwise_right_shift_(31).bitwise_not_()
        return self.pixels.index_select(0, index.flatten()).view(index.shape)

    def _plane(self, by_x: Tensor, by_y: Tensor, start: Tensor) -> Tensor:
        """(start + by_y · y + by_x · x) >> 16 for each pixel, int32 (B, H, W): its source's column, or row.

        In 32 bits as in Pillow: sides are below 2**13 and coefficients about 2**16, so the sum fits.
        """
        down = start[:, None] + by_y[:, None] * self.y
        across = by_x[:, None] * self.x
        return (down[:, :, None] + across[:, None, :]).bitwise_right_shift_(16)

    def _check(self, n: int) -> None:
        if self.channels not in _PIXEL:
            raise ValueError(f"images must have 1 to 4 channels; these have {self.channels}")
        if n * self.image >= 2**31 or max(self.height, self.width) >= 2**13:
            raise ValueError(
                "padded images must have fewer than 2**31 pixels together and sides below 2**13; "
                f"these are {n} of {self.height}x{self.width}. Train on fewer images (train_size)"
            )


class Views(Epochs):
    """The training views of small images, epoch by epoch: a pure function of (seed, epoch, index).

    Args:
        padded: the images, padded as far as their crops reach.
        labels: int64 (N,).
        batching: where the padded images lie, too.
        normalise: on that device.
        seed: of all draws.
        flip: whether half of the images are flipped.
        rotation: the greatest angle, in degrees.
        augmentation: what is done after that (None: nothing).
    """

    def __init__(
        self,
        padded: PaddedImages,
        labels: Tensor,
        batching: Batching,
        normalise: Normalise,
        *,
        seed: int,
        flip: bool,
        rotation: float,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.padded, self.labels = padded, labels.to(batching.device)
        self.batching, self.normalise = batching, normalise
        self.seed, self.flip, self.rotation, self.augmentation = seed, flip, rotation, augmentation
        self.look: Callable[[Tensor, Tensor], Tensor] = self._look
        """What may be replaced by a faster way to the same."""

    def draws(self, epoch: int) -> Draws:
        """What an epoch does to each image, in the order of the data set."""
        n = len(self.labels)
        return draw(self.seed, epoch, n, crop=self.padded.crop, flip=self.flip, rotation=self.rotation)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Every image once, in the epoch's own order; of each batch only the share. Epochs count from 1."""
        # Everything is drawn by index for the whole epoch, then put into the epoch's order: a view depends on
        # neither its batch nor its rank. The few numbers per image are copied to the device all at once.
        n, height, width = len(self.labels), self.padded.height, self.padded.width
        order = random.permutation(self.seed, epoch, n)
        draws = self.draws(epoch)
        index = self._batches(order)
        corner = self._batches(self.padded.corner(order, draws))
        a = self._batches(coefficients(draws, height, width)[order])
        augmented = self.augmentation.of_epoch(epoch, n, height, width) if self.augmentation else None
        known = torch.split(torch.from_numpy(order), self.batching.batch_size)  # on the CPU
        for k, all_ in enumerate(index):
            here = self.batching.share(len(all_))
            i = all_[here]
            if augmented is None:
                x = self.look(corner[k][here], a[k][here])
            else:  # by the order on the CPU: nothing waits for the device
                pixels = self.padded.gather(corner[k][here], a[k][here])
                images = self.normalise.levels(pixels).to(torch.uint8)
                x = augmented.normalised(images, known[k][here].numpy(), self.normalise)
            yield x, self.labels.index_select(0, i), i

    def _batches(self, of_images: NDArray[Any]) -> Sequence[Tensor]:
        """Numbers of images in the epoch's order, (N, ...), on the device and cut into batches."""
        there = torch.from_numpy(of_images).to(self.batching.device, non_blocking=True)
        return torch.split(there, self.batching.batch_size)

    def _look(self, corner: Tensor, a: Tensor) -> Tensor:
        """The views of a batch that begin at corner, int32 (B,), by Pillow's a, int32 (B, 6): normalised."""
        return self.normalise.unpack(self.padded.gather(corner, a))


class Values(Epochs):
    """Values that are the same in every epoch, as they are: only their order is drawn.

    Args:
        values: float32 (N, C, H, W).
        labels: int64 (N,).
        batching: how they are cut.
        seed: of the order, which is that of `Views`.
    """

    def __init__(self, values: Tensor, labels: Tensor, batching: Batching, seed: int) -> None:
        self.values, self.labels = values.to(batching.device), labels.to(batching.device)
        self.batching, self.seed = batching, seed
        self.orders: dict[int, Tensor] = {}

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Every point once, in the epoch's own order; of each batch only the share. Epochs count from 1.

        They are put into that order all at once: for a small network, fetching each batch would be a third
        of its step.
        """
        size, index = len(self.labels), self.order(epoch).to(self.values.device)
        values, labels = self.values.index_select(0, index), self.labels.index_select(0, index)
        for first in range(0, size, self.batching.batch_size):
            count = min(self.batching.batch_size, size - first)
            batch = tuple([part.narrow(0, first, count) for part in (values, labels, index)])
            if self.batching.share is not whole:
                here = self.batching.share(count)
                batch = tuple([part[here] for part in batch])
            yield batch  # type: ignore[misc]

    def order(self, epoch: int) -> Tensor:
        """Which values come when, int64 (N,); of few values, those of the next epochs are drawn at once."""
        if epoch not in self.orders:
            epochs = range(epoch, epoch + max(1, DRAWN // len(self.labels)))
            drawn = torch.from_numpy(random.permutations(self.seed, epochs, len(self.labels)))
            self.orders = dict(zip(epochs, drawn, strict=True))
        return self.orders[epoch]


def plain_batches(
    images: Tensor, labels: Tensor, batching: Batching, normalise: Normalise
) -> Iterator[Batch]:
    """Every image once, in the order of the data set, normalised and otherwise as it is; values as they are.

    Small images are normalised for several batches at once. Where the images are on the device, the host
    never waits for it.
    """
    as_values = normalise if images.dtype == torch.uint8 else torch.Tensor.contiguous
    batch_size, device, share = batching.batch_size, batching.device, batching.share
    # several batches at once only where every rank wants all of each: a share is cut from one batch
    batches = AT_ONCE // max(1, batch_size * images[:1].numel()) if share is whole else 1
    labels, index = labels.to(device), torch.arange(len(labels), device=device)
    at_once = batch_size * max(1, batches)
    for first in range(0, len(labels), at_once):
        some = slice(first, first + at_once)
        here = share(len(index[some]))
        parts = (as_values(images[some][here].to(device)), labels[some][here], index[some][here])
        yield from zip(*(torch.split(part, batch_size) for part in parts), strict=True)


def _pixels(images: Tensor, crop: int) -> Tensor:
    """uint8 (N, C, H, W) -> one integer per pixel of the padded images, after a single zero; flat."""
    n, channels, height, width = images.shape
    kind = _PIXEL[channels]
    shape = (n, height + 2 * crop, width + 2 * crop, kind.itemsize)
    flat = torch.zeros(1 + n * shape[1] * shape[2], dtype=kind)
    padded = flat[1:].view(n, *shape[1:3], 1).view(torch.uint8)
    padded[:, crop : crop + height, crop : crop + width, :channels] = images.permute(0, 2, 3, 1)
    return flat
