"""scikit-learn's 1,797 handwritten digits of 8x8 pixels: a data set that needs no network.

They come with scikit-learn (UCI's optical recognition of handwritten digits, its test part).
"""

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdbench.data.disk import Arrays
from kdbench.data.fetch import Fetcher
from kdbench.errors import UserError

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
"""Of the pixels (uint8, 0 to 16) followed by the labels (uint8), measured with scikit-learn 1.9.1."""
PER_CLASS = 40
"""Training images of each digit."""


def digits(_fetcher: Fetcher) -> Arrays:
    """400 training and 1,397 test images, 40 of each digit in the training part.

    The n images of a digit, in scikit-learn's order, are numbered 0 to n - 1; the training images are those
    at which floor(40 (j + 1) / n) rises: evenly spread. Both parts keep scikit-learn's
    order. A pixel is stored as 15 times its value: 0 to 240.

    Raises:
        UserError: scikit-learn's digits are not the known ones.
    """
    pixels, labels = _load()
    train = training(labels)
    images = (15 * pixels).astype(np.uint8).reshape(-1, 1, 8, 8)
    return {
        "train_images": images[train],
        "train_labels": labels[train].astype(np.int64),
        "test_images": images[~train],
        "test_labels": labels[~train].astype(np.int64),
    }


def training(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which images are for training; shape (n,)."""
    chosen = np.zeros(len(labels), bool)
    for digit in range(10):
        (of_digit,) = np.nonzero(labels == digit)
        steps = PER_CLASS * np.arange(len(of_digit) + 1) // len(of_digit)
        chosen[of_digit] = np.diff(steps) > 0
    return chosen


def files(_pack: str) -> tuple[str, ...]:
    """No official file needs to lie anywhere: scikit-learn brings them."""
    return ()


def sources(_pack: str) -> dict[str, str]:
    """The checksum of what the pack is made of."""
    return {"sklearn.datasets.load_digits": SHA256}


def _load() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (1797, 64) and labels (1797,), read from scikit-learn's own file.

    `sklearn.datasets.load_digits` gives the same, but importing it takes seconds.
    """
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None  # noqa: PT018, S101 - it is a dependency
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    tested = "Install the scikit-learn that kdbench was tested with (1.5 to 1.9)."
    try:
        table = np.loadtxt(file, np.uint8, delimiter=",")
    except (OSError, ValueError) as error:
        raise UserError(f"scikit-learn's digits cannot be read ({error}). {tested}") from error
    pixels, labels = table[:, :-1], table[:, -1]
    checksum = sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    if checksum != SHA256:
        raise UserError(
            f"scikit-learn's digits have sha256 {checksum} instead of {SHA256}: they were changed. {tested}"
        )
    return pixels, labels
