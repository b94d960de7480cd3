"""What a run predicted for each test image: the evidence for its accuracies, kept beside its weights.

    SCRATCH/predictions/ID/EPOCH.SHA256.classes     the class predicted for each test image
    SCRATCH/predictions/ID/labels.SHA256.classes    the true one

One byte an image, two (the lower first) where there are more than 256 classes. The record of the run holds the
digests. Needs neither torch nor numpy: whoever verifies has a laptop.
"""

import sys
from array import array
from collections.abc import Iterable
from operator import eq
from pathlib import Path

from kdbench.store import digest

LABELS = "labels"
"""The name of the true classes among a run's predictions."""


def encode(classes: Iterable[int], count: int) -> bytes:
    """Class numbers, 0 to count - 1, as they are kept."""
    if count <= 256:
        return bytes(classes)
    wide = array("H", classes)
    if sys.byteorder == "big":
        wide.byteswap()
    return wide.tobytes()


def decode(content: bytes, count: int) -> list[int]:
    """Class numbers from what was kept of a data set with so many classes.

    Raises:
        ValueError: it is no whole number of images.
    """
    if count <= 256:
        return list(content)
    wide = array("H")
    wide.frombytes(content)
    if sys.byteorder == "big":
        wide.byteswap()
    return wide.tolist()


def accuracy(predicted: list[int], labels: list[int]) -> float:
    """The top1 in percent, by the same arithmetic as in training.

    Raises:
        ValueError: there are not as many predictions as labels, or none.
    """
    if len(predicted) != len(labels) or not labels:
        raise ValueError(f"{len(predicted)} predictions for {len(labels)} labels")
    return 100 * sum(map(eq, predicted, labels)) / len(labels)


def predictions_file(scratch: Path, run: str, name: str, sha256: str) -> Path | None:
    """A run's predictions of an epoch, of its best one, or the `labels`, if they are there and whole."""
    path = scratch / "predictions" / run / f"{name}.{sha256}.classes"
    return path if path.is_file() and digest(path) == sha256 else None
