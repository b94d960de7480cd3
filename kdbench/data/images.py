"""Published image files -> pixels, and the order that images are stored in."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


STRAY = frozenset({"__MACOSX", "@eaDir", "lost+found", "Thumbs.db"})
"""What file managers and file servers leave in folders of images, beside names that begin with a dot."""


def is_stray(name: str) -> bool:
    """Whether a file or folder is no part of a data set: `.ipynb_checkpoints`, `._a.JPEG`, `@eaDir`."""
    return name in STRAY or name.startswith(".")


def decode(content: bytes, name: str | Path) -> "Image":
    """An image file as RGB, by Pillow.

    Raises:
        UserError: it is damaged, or no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content)) as image:
            return image.convert("RGB")
    except UnidentifiedImageError as error:  # whose text is the address of an object
        raise UserError(f"{name}: no image that can be read (of no known kind); fetch it again") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: no image that can be read ({error}); fetch it again") from error


def shortened(image: "Image", side: int) -> "Image":
    """The image resized bilinearly to `side` pixels on its shorter side, as torchvision's Resize does."""
    from PIL.Image import Resampling

    width, height = image.size
    if min(width, height) == side:
        return image
    long = int(side * max(width, height) / min(width, height))
    return image.resize((side, long) if width < height else (long, side), Resampling.BILINEAR)


def interleaved(labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """An order in which the first of each class come first, then the second of each; shape (n,).

    Data sets are published class by class, and `train_size` takes the first so many images.
    """
    label = np.asarray(labels, np.int64)
    by_class = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[by_class], label[by_class])
    number = np.empty_like(label)
    number[by_class] = np.arange(len(label)) - starts
    return np.lexsort((label, number)).astype(np.int64, copy=False)


def as_text(names: Sequence[str]) -> NDArray[np.uint8]:
    """The classes' names, in the order of the labels, as a packed file holds them: UTF-8, one a line."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)
