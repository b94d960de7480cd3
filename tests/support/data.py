"""Images drawn at random in the place of a data set."""

import os
from pathlib import Path

import torch

from kdbench import catalog
from kdbench.data.packed import Dataset
from tests.support.places import ROOT

SIZE, RESIZE = 64, 72
"""Instead of 224 and 256 pixels. Of 32, MobileNetV2 would keep one place: a batch norm of two values."""


def random_data(name: str, n: int = 4) -> Dataset:
    entry, generator = catalog.find("datasets", name), torch.Generator().manual_seed(0)
    sides = (RESIZE, RESIZE + 9) if entry.varied else (entry.size, entry.size)
    images = torch.randint(256, (n, entry.channels, *sides), dtype=torch.uint8, generator=generator)
    labels = torch.randint(entry.classes, (n,), generator=generator)
    return Dataset(name, images, labels, images, labels, entry.classes, content="random")


def real_mnist() -> Path | None:
    """Where the official files of MNIST lie, each as .xz; None where they are nowhere."""
    given = [Path(named, "mnist") for named in (os.environ.get("KDBENCH_TEST_DATA"),) if named]
    places = [*given, ROOT.parent / "shared" / "data" / "mnist"]
    return next((place for place in places if list(place.glob("*.xz"))), None)
