"""Images drawn at random in the place of a data set."""

import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdbench import catalog
from kdbench.data.mnist import FILES
from kdbench.data.packed import Dataset
from tests.support.places import ROOT

SIZE, RESIZE = 64, 72
"""Instead of 224 and 256 pixels. Of 32, MobileNetV2 would keep one place: a batch norm of two values."""


def random_data(name: str, n: int = 4) -> Dataset:
    """A few images for training, which are those of the test too."""
    entry, generator = catalog.find("datasets", name), torch.Generator().manual_seed(0)
    sides = (RESIZE, RESIZE + 9) if entry.varied else (entry.size, entry.size)
    images = torch.randint(256, (n, entry.channels, *sides), dtype=torch.uint8, generator=generator)
    labels = torch.randint(entry.classes, (n,), generator=generator)
    return Dataset(name, images, labels, images, labels, entry.classes, content="random")


def put_real_cifar100(folder: Path) -> None:
    """Let a folder have the official files of CIFAR-100; the test is skipped where they are nowhere."""
    given, shards = os.environ.get("KDBENCH_TEST_DATA"), ROOT.parent / "shared" / "data"
    if given and Path(given, "cifar-100-python").is_dir():
        (folder / "cifar-100-python").symlink_to(Path(given, "cifar-100-python").resolve())
    elif (shards / "cifar_pack.py").exists():
        tool = [sys.executable, str(shards / "cifar_pack.py"), "unpack", str(shards / "cifar100")]
        subprocess.run([*tool, str(folder)], check=True, capture_output=True)
    else:
        pytest.skip(
            "no real CIFAR-100: KDBENCH_TEST_DATA names no folder with cifar-100-python/, "
            f"and {shards} has no cifar_pack.py"
        )


def unpack_real_mnist(folder: Path) -> None:
    """The official files of MNIST, unpacked below a folder; the test is skipped where they are nowhere."""
    given = [Path(named, "mnist") for named in (os.environ.get("KDBENCH_TEST_DATA"),) if named]
    places = [*given, ROOT.parent / "shared" / "data" / "mnist"]
    place = next((place for place in places if list(place.glob("*.xz"))), None)
    if place is None:
        pytest.skip(
            "no real MNIST: KDBENCH_TEST_DATA names no folder with mnist/, and there is no shared one"
        )
    (folder / "mnist").mkdir(parents=True)
    for name in FILES:
        (folder / "mnist" / name).write_bytes(lzma.decompress((place / f"{name}.xz").read_bytes()))
