"""Data sets that are generated for each seed: they lie nowhere, and nothing of them is fetched."""

import numpy as np

from kdbench import catalog
from kdbench.data.packed import Dataset, content_digest, entry


def is_generated(name: str) -> bool:
    """Whether a data set is a function of the seed.

    Raises:
        UserError: there is no such data set.
    """
    return entry(name).generated


def generated(name: str, seed: int) -> Dataset:
    """A generated data set for a seed: float32 values (N, C, 1, 1) in the place of images.

    Its content digest says which points they are, to the last bit.
    """
    import torch

    found = entry(name)
    with catalog.naming_package("datasets", name):
        arrays = catalog.load(found.code)(name, seed)
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    return Dataset(
        name=name,
        train_images=tensors["train_images"],
        train_labels=tensors["train_labels"],
        test_images=tensors["test_images"],
        test_labels=tensors["test_labels"],
        classes=found.classes,
        content=content_digest(arrays),
    )
