"""Views of images at a size that the network sees, batched, made by threads while the network trains.

A view is a pure function of (seed, epoch, index), whatever the number of workers. They are threads, since
the arithmetic releases the interpreter's lock.
"""

from collections import deque
from collections.abc import Callable, Iterator
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
from kdbench.data.views import Batch, Batching, Epochs, Normalise

_AHEAD = 2
"""Batches that are being made while one is trained on."""


class Pictures(Protocol):
    """Images of one size or of many, each uint8 (C, H, W)."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int, /) -> Tensor:
        """One of them."""


@dataclass(frozen=True)
class BatchMaker:
    """Makes views by threads, batch after batch."""

    labels: Tensor
    batching: Batching
    normalise: Normalise
    side: int
    """Of a view, which is square."""
    workers: int
    """Threads."""

    def make(
        self, view: Callable[[int], Tensor], order: NDArray[np.int64], augmented: Augmented | None = None
    ) -> Iterator[Batch]:
        """The views of these images; `view(index)` is one, uint8 (C, side, side)."""
        with _threads(self.workers) as pool:
            # a batch is finished when two more have been begun: workers are busy while the network trains
            begun: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
            for index in torch.split(torch.from_numpy(order), self.batching.batch_size):
                begun.append(self._begin(pool, view, index[self.batching.share(len(index))]))
                if len(begun) > _AHEAD:
                    yield self._finish(*begun.popleft(), augmented)
            while begun:
                yield self._finish(*begun.popleft(), augmented)

    def _begin(
        self, pool: ThreadPoolExecutor, view: Callable[[int], Tensor], index: Tensor
    ) -> tuple[Tensor, Tensor, list[Future[None]]]:
        """A batch that is being made, each worker a part of it."""
        shape = (len(index), self.normalise.channels, self.side, self.side)
        pin = self.batching.device.type == "cuda"
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=pin)

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
        device = self.batching.device
        images = pixels.to(device, non_blocking=True)
        if augmented is None:
            x = self.normalise(images)
        else:
            x = augmented.normalised(images, index.numpy(), self.normalise)
        labels = self.labels[index].to(device, non_blocking=True)
        return x, labels, index.to(device, non_blocking=True)


class Crops(Epochs):
    """The training views of a data set at a size, epoch by epoch: a pure function of (seed, epoch, index).

    Args:
        images: of one size or of many.
        labels: int64 (N,).
        batching: how views are cut into batches.
        normalise: on the device of the batches.
        framing: how an image is brought to its size.
        seed: of all draws.
        workers: threads.
        augmentation: what is done after that (None: nothing).
    """

    def __init__(
        self,
        images: Pictures,
        labels: Tensor,
        batching: Batching,
        normalise: Normalise,
        framing: Framing,
        *,
        seed: int,
        workers: int = 1,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images, self.labels, self.framing = images, labels, framing
        self.batching, self.seed, self.augmentation = batching, seed, augmentation
        self.sizes = sizes_of(images)
        self.maker = BatchMaker(labels, batching, normalise, framing.size, workers)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Every image once, in the epoch's own order; of each batch only the share. Epochs count from 1."""
        framing = self.framing
        boxes = draw_boxes(self.seed, epoch, self.sizes, flip=framing.flip)

        def view(index: int) -> Tensor:
            if framing.resized_crop:
                return crop(self.images[index], boxes, index, framing.size)
            found = centre(self.images[index], framing)
            return found.flip(-1) if boxes.flip[index] else found

        n, side = len(self.sizes), framing.size
        augmented = self.augmentation.of_epoch(epoch, n, side, side) if self.augmentation else None
        return self.maker.make(view, random.permutation(self.seed, epoch, n), augmented)


def centre_batches(
    images: Pictures,
    labels: Tensor,
    batching: Batching,
    normalise: Normalise,
    framing: Framing,
    *,
    workers: int = 1,
) -> Iterator[Batch]:
    """Every image once, in the order of the data set: its centre, normalised."""
    maker = BatchMaker(labels, batching, normalise, framing.size, workers)
    return maker.make(lambda index: centre(images[index], framing), np.arange(len(labels)))


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
