"""Images drawn at random in the place of a data set."""

import torch

from kdbench import catalog
from kdbench.data.packed import Dataset

SIZE, RESIZE = 64, 72
"""Instead of 224 and 256 pixels. Of 32, MobileNetV2 would keep one place: a batch norm of two values."""


def random_data(name: str, n: int = 4) -> Dataset:
    entry, generator = catalog.find("datasets", name), torch.Generator().manual_seed(0)
    sides = (RESIZE, RESIZE + 9) if entry.varied else (entry.size, entry.size)
    images = torch.randint(256, (n, entry.channels, *sides), dtype=torch.uint8, generator=generator)
    labels = torch.randint(entry.classes, (n,), generator=generator)
    return Dataset(name, images, labels, images, labels, entry.classes, content="random")
