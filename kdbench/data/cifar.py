"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their official Python pickles.

The official facts - addresses, names, checksums - are torchvision's.
"""

import io
import pickle
from typing import Any

import numpy as np

from kdbench.data.disk import Arrays
from kdbench.data.fetch import Fetcher, Official

FILES = {
    "cifar10": (
        *(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        "cifar-10-batches-py/test_batch",
    ),
    "cifar100": ("cifar-100-python/train", "cifar-100-python/test"),
}
"""What each is packed from, the test images last; known without torchvision, which takes 9 s to import."""


def cifar10(fetcher: Fetcher) -> Arrays:
    """50,000 training and 10,000 test images of 10 classes.

    Raises:
        UserError: an official file is altered, or cannot be had.
    """
    *train, test = _batches("cifar10", fetcher)
    return _split("train", train, labels="labels") | _split("test", [test], labels="labels")


def cifar100(fetcher: Fetcher) -> Arrays:
    """50,000 training and 10,000 test images of 100 classes in 20 superclasses (the coarse labels).

    Raises:
        UserError: an official file is altered, or cannot be had.
    """
    names = {"labels": "fine_labels", "coarse_labels": "coarse_labels"}
    train, test = _batches("cifar100", fetcher)
    return _split("train", [train], **names) | _split("test", [test], **names)


def files(pack: str) -> tuple[str, ...]:
    """The official files of a pack, by name below the place of the data."""
    return FILES[pack]


def other_files(pack: str) -> list[tuple[str, ...]]:
    """What may lie there instead: the archive that they are unpacked from."""
    return [({"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}[pack],)]


def sources(pack: str) -> dict[str, str]:
    """The checksums of what a pack is made of, by name."""
    return official(pack).files


def official(pack: str) -> Official:
    """The published form of a pack, as torchvision knows it; imports torchvision."""
    from torchvision.datasets import CIFAR10, CIFAR100

    known = {"cifar10": CIFAR10, "cifar100": CIFAR100}[pack]
    lists = [*known.train_list, *known.test_list]
    return Official(
        url=known.url,
        archive=known.filename,
        md5=known.tgz_md5,
        files={f"{known.base_folder}/{name}": checksum for name, checksum in lists},
    )


class _Unpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers, nothing else."""

    _reconstruct = staticmethod(np.zeros(0).__reduce__()[0])  # type: ignore[arg-type]
    allowed = {  # noqa: RUF012 - a constant
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"a data set holds arrays only; this one asks for {module}.{name}")
        return self.allowed[module, name]


def unpickle(content: bytes) -> Any:  # noqa: ANN401 - what the file holds
    """What an official pickle holds. Only ever called on bytes whose checksum is the official one.

    Raises:
        pickle.UnpicklingError: it asks for anything but numpy arrays.
    """
    return _Unpickler(io.BytesIO(content), encoding="latin1").load()


def _batches(pack: str, fetcher: Fetcher) -> list[dict[str, Any]]:
    found = fetcher.read(official(pack))
    return [unpickle(found[name]) for name in FILES[pack]]


def _split(split: str, batches: list[dict[str, Any]], **labels: str) -> Arrays:
    images = np.concatenate([batch["data"] for batch in batches])
    arrays: Arrays = {f"{split}_images": images.reshape(-1, 3, 32, 32)}
    for ours, theirs in labels.items():
        columns = [np.asarray(batch[theirs], np.int64) for batch in batches]
        arrays[f"{split}_{ours}"] = np.concatenate(columns)
    return arrays
