"""What a run predicted for each test image: the evidence for its accuracies, kept beside its weights.

    SCRATCH/predictions/ID/EPOCH.SHA256.classes     the class predicted for each test image
    SCRATCH/predictions/ID/labels.SHA256.classes    the true one

One byte an image, two (the lower first) where there are more than 256 classes. The record of the run holds
the digests. Needs neither torch nor numpy: whoever verifies has a laptop.
"""

import sys
from array import array
from collections.abc import Iterable, Mapping
from hashlib import sha256
from operator import eq
from pathlib import Path

from kdbench.store.files import digest, write

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
    right: int = sum(map(eq, predicted, labels))
    return 100 * right / len(labels)


def accuracy_by_class(predicted: list[int], labels: list[int], count: int) -> tuple[float, ...]:
    """The share of each class's images that is predicted right, in percent; of a class without images 0.

    Of the predictions 0 1 1 for the labels 0 1 0, two classes: 50 and 100.
    """
    right, there = [0] * count, [0] * count
    for guess, label in zip(predicted, labels, strict=True):
        there[label] += 1
        right[label] += guess == label
    return tuple(100 * hits / max(images, 1) for hits, images in zip(right, there, strict=True))


def save_predictions(
    scratch: Path, run: str, classes: Mapping[str, bytes], *, durable: bool = True
) -> dict[str, str]:
    """Keep what a finished run predicted, beside what an earlier training of it did.

    Args:
        scratch: the folder of this machine.
        run: its id.
        classes: by epoch, and the true ones as `labels`.
        durable: sync them (`records.write`).

    Returns:
        The sha256 of each.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = scratch / "predictions" / run
    digests = {name: sha256(content).hexdigest() for name, content in sorted(classes.items())}
    for name, sha in digests.items():
        write(folder / f"{name}.{sha}.classes", classes[name], durable=durable)
    return digests


def predictions_file(scratch: Path, run: str, name: str, sha: str) -> Path | None:
    """A run's predictions of an epoch, of its best one, or the `labels`, if they are there and whole."""
    path = scratch / "predictions" / run / f"{name}.{sha}.classes"
    return path if path.is_file() and digest(path) == sha else None
