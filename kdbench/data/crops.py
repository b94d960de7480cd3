"""Views of images at a size that the network sees, batched, made by threads while the network trains.

A view is a pure function of (seed, epoch, index), whatever the number of workers. They are threads, since
the arithmetic releases the interpreter's lock.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data import random
from kdbench.data.augment import Augmentation, Augmented
from kdbench.data.boxes import Framing, centre, crop, draw_boxes
from kdbench.data.views import Batch, Epochs, Normalise, Places, whole

_AHEAD = 2
"""Batches that are being made while one is trained on."""


class Pictures(Protocol):
    """Images of one size or of many, each uint8 (C, H, W)."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int, /) -> Tensor:
        """One of them."""


@dataclass(frozen=True)
class Batches:
    """Makes batches of views."""

    labels: Tensor
    shape: tuple[int, int, int]
    """C, H and W of a view."""
    normalise: Normalise
    batch_size: int
    workers: int
    device: torch.device
    share: Places = whole
    """What is made of each batch."""

    def make(
        self, view: Callable[[int], Tensor], order: NDArray[np.int64], augmented: Augmented | None = None
    ) -> Iterator[Batch]:
        """The views of these images, `view(index)` being uint8 `shape`; the last batch may be short."""
        with _threads(self.workers) as pool:
            # a batch is finished when two more have been begun: workers are busy while the network trains
            begun: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
            for index in torch.split(torch.from_numpy(order), self.batch_size):
                begun.append(self._begin(pool, view, index[self.share(len(index))]))
                if len(begun) > _AHEAD:
                    yield self._finish(*begun.popleft(), augmented)
            while begun:
                yield self._finish(*begun.popleft(), augmented)

    def _begin(
        self, pool: ThreadPoolExecutor, view: Callable[[int], Tensor], index: Tensor
    ) -> tuple[Tensor, Tensor, list[Future[None]]]:
        """A batch that is being made, each worker a part of it."""
        pin = self.device.type == "cuda"
        pixels = torch.empty(len(index), *self.shape, dtype=torch.uint8, pin_memory=pin)

        def fill(places: NDArray[np.int64]) -> None:
            for place in places.tolist():
                pixels[place] = view(int(index[place]))

        parts = np.array_split(np.arange(len(index)), max(1, min(self.workers, len(index))))
        return index, pixels, [pool.submit(fill, part) for part in parts]

    def _finish(
        self, index: Tensor, pixels: Tensor, parts: list[Future[None]], augmented: Augmented | None
    ) -> Batch:
        for part in parts:
            part.result()
        images = pixels.to(self.device, non_blocking=True)
        if augmented is None:
            x = self.normalise(images)
        else:
            x = augmented.values(self.normalise(augmented.images(images, index.numpy())), index.numpy())
        labels = self.labels[index].to(self.device, non_blocking=True)
        return x, labels, index.to(self.device, non_blocking=True)


class Crops(Epochs):
    """The training views of a data set at a size, epoch by epoch: see `kdbench.data.views.Views`."""

    def __init__(  # noqa: PLR0913 - a recipe's numbers, and where the views lie
        self,
        images: Pictures,
        labels: Tensor,
        framing: Framing,
        *,
        seed: int,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        workers: int = 1,
        share: Places = whole,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images, self.labels, self.framing, self.seed = images, labels, framing, seed
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.sizes = sizes_of(images)
        shape = (len(mean), framing.size, framing.size)
        self.batches = Batches(
            labels, shape, Normalise(mean, std, device), batch_size, workers, device, share
        )

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Every image once, in the epoch's own order; the last batch may be short. Epochs count from 1."""
        framing = self.framing
        boxes = draw_boxes(self.seed, epoch, self.sizes, flip=framing.flip)

        def view(index: int) -> Tensor:
            if framing.resized_crop:
                return crop(self.images[index], boxes, index, framing.size)
            found = centre(self.images[index], framing)
            return found.flip(-1) if boxes.flip[index] else found

        n, side = len(self.sizes), framing.size
        augmented = self.augmentation.of_epoch(epoch, n, side, side) if self.augmentation else None
        return self.batches.make(view, random.permutation(self.seed, epoch, n), augmented)


def centre_batches(
    images: Pictures,
    labels: Tensor,
    framing: Framing,
    *,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    workers: int = 1,
    share: Places = whole,
) -> Iterator[Batch]:
    """Every image once, in the order of the data set: its centre, normalised."""
    shape = (len(mean), framing.size, framing.size)
    batches = Batches(labels, shape, Normalise(mean, std, device), batch_size, workers, device, share)
    return batches.make(lambda index: centre(images[index], framing), np.arange(len(labels)))


def sizes_of(images: Pictures) -> NDArray[np.int32]:
    """Height and width of each image; int32 (n, 2)."""
    if isinstance(images, Tensor):
        return np.tile(np.array(images.shape[2:], np.int32), (len(images), 1))
    return images.sizes  # type: ignore[attr-defined, no-any-return]


@contextmanager
def _threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that begin nothing more once the block is left."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
