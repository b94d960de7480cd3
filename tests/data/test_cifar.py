"""CIFAR: the official pickles, read without trusting them, and the real data set."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench import catalog
from kdbench.data import packed
from kdbench.data.cifar import unpickle
from kdbench.data.fetch import Fetcher
from kdbench.data.packed import Dataset, open_dataset
from kdbench.errors import UserError
from tests.support.data import put_real_cifar100


class Call:
    """Pickles as a call of os.system."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


PYTHON_2 = (
    b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x01\x02\xfd\xfe\xfftb"
    b"U\x06labels](K\x01K\x02eu."
)
"""An array and a list as Python 2's cPickle wrote them into the official files."""


def test_unpickle_builds_arrays_and_containers() -> None:
    found = unpickle(PYTHON_2)
    assert found["data"].tolist() == [[0, 1, 2], [253, 254, 255]]
    assert found["labels"] == [1, 2]


@pytest.mark.parametrize("thing", [Call(), print, Path("a")], ids=["call", "function", "object"])
def test_unpickle_refuses_anything_else(thing: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="holds arrays only"):
        unpickle(pickle.dumps({"data": thing}))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the official files, which the tests may write to."""
    folder = tmp_path_factory.mktemp("real")
    put_real_cifar100(folder)
    return folder


@pytest.fixture(scope="module")
def fine(real: Path) -> Dataset:
    return open_dataset("cifar100", Fetcher(place=real, offline=True))


@pytest.mark.real
def test_cifar100_equals_torchvisions(real: Path, fine: Dataset) -> None:
    from torchvision.datasets import CIFAR100

    theirs = CIFAR100(real, train=False, download=False)
    assert np.array_equal(fine.test_images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert fine.test_labels.tolist() == theirs.targets


@pytest.mark.real
def test_cifar100_content_is_pinned(fine: Dataset) -> None:
    assert fine.content == packed.CONTENT["cifar100"]


@pytest.mark.real
def test_cifar100_statistics_are_those_of_the_training_images(fine: Dataset) -> None:
    counts = [torch.bincount(fine.train_images[:, c].flatten(), minlength=256).double() for c in range(3)]
    levels, n = torch.arange(256).double() / 255, fine.train_images[:, 0].numel()
    means = [float((count * levels).sum() / n) for count in counts]
    stds = [float(((c * levels**2).sum() / n - m * m) ** 0.5) for c, m in zip(counts, means, strict=True)]
    entry = catalog.DATASETS["cifar100"]
    assert means == pytest.approx(entry.mean, abs=1e-9)
    assert stds == pytest.approx(entry.std, abs=1e-9)


@pytest.mark.real
def test_cifar100_coarse_shares_the_packed_file(real: Path, fine: Dataset) -> None:
    coarse = open_dataset("cifar100_coarse", Fetcher(place=real, offline=True))
    assert (coarse.classes, int(coarse.train_labels.max())) == (20, 19)
    assert coarse.content == fine.content
    pairs = set(zip(fine.train_labels.tolist(), coarse.train_labels.tolist(), strict=True))
    assert len(pairs) == 100


@pytest.mark.real
def test_an_altered_official_file_is_refused(real: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "train").write_bytes(b"altered")
    (folder / "test").symlink_to((real / "cifar-100-python" / "test").resolve())
    with pytest.raises(UserError, match="cifar-100-python/train: not the official file"):
        open_dataset("cifar100", Fetcher(place=tmp_path, offline=True))
