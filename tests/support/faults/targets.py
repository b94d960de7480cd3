"""What reads strangers' bytes, each as a function that returns or refuses; what else it raises is a finding.

Hypothesis throws a few hundred changed files at them in the tests (test_hostile.py), atheris millions
(fuzz.py).
"""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import md5, sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from safetensors.torch import save

from kdbench.data.archive import extract
from kdbench.errors import UserError
from kdbench.importing.mxnet import read_params
from kdbench.spec.results import Failure
from kdbench.store.records import load_failure, load_result
from kdbench.suite.load import load_suite
from kdbench.training.checkpoint import read_progress
from tests.support import mxnet
from tests.support.build import make_result, make_run
from tests.support.project import SUITE

RUN = make_run(teacher=make_run("resnet18"))


class Target(NamedTuple):
    """A reader, with whole files to begin from."""

    read: Callable[[Path, bytes], None]
    """Given a folder to write in, and the bytes."""
    seeds: tuple[bytes, ...]


def suite(folder: Path, content: bytes) -> None:
    """A suite's file."""
    (folder / "suite.toml").write_bytes(content)
    load_suite(folder / "suite.toml")


def result(folder: Path, content: bytes) -> None:
    """A stored result."""
    path = folder / f"mobilenetv2-kd-resnet18.s0.{RUN.id}.json"
    path.write_bytes(content)
    load_result(path)


def failure(folder: Path, content: bytes) -> None:
    """A stored failure."""
    path = folder / f"mobilenetv2-kd-resnet18.s0.{RUN.id}.failed.json"
    path.write_bytes(content)
    load_failure(path)


def params(_folder: Path, content: bytes) -> None:
    """MXNet's binary weights."""
    read_params(content, "a.params")


def archive(folder: Path, content: bytes) -> None:
    """A data set's archive: the bytes are those inside its gzip, whose own damage zlib finds."""
    (folder / "a.tar.gz").write_bytes(gzip.compress(content, 1))
    inside = folder / "inside"
    extract(folder / "a.tar.gz", inside, {"data/train": md5(b"train").hexdigest()})  # noqa: S324
    outside = {path.name for path in folder.iterdir()} - {"a.tar.gz", "inside"}
    assert not outside, f"written beside its folder: {outside}"


def progress(folder: Path, content: bytes) -> None:
    """A checkpoint that is named by its content, whatever that is."""
    path = folder / f"2.{sha256(content).hexdigest()}.safetensors"
    path.write_bytes(content)
    try:
        found = read_progress(path)
    finally:
        path.unlink()
    assert found is None or all("/" not in name for name in found.weights), "weights out of their folder"


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (("data/train", b"train"), (f"data/{'ü' * 120}", b"x")):
            student_run = tarfile.TarInfo(name)
            student_run.size = len(content)
            tar.addfile(student_run, io.BytesIO(content))
    return stream.getvalue()


def _checkpoint() -> bytes:
    zeros = [0.0, 0.0]
    note = {
        "epoch": 2,
        "top1": zeros,
        "test_loss": zeros,
        "train_loss": zeros,
        "seconds": zeros,
        "weights": {"best": "0" * 64},
    }
    return save(
        {"model.a": torch.zeros(2)},
        {"progress": msgspec.json.encode(note).decode(), "basis": "{}", "run": "0"},
    )


TARGETS = {
    "suite": Target(suite, (SUITE.encode(),)),
    "result": Target(result, (msgspec.json.encode(make_result(RUN, 60.0, 70.0)),)),
    "failure": Target(failure, (msgspec.json.encode(Failure(id=RUN.id, run=RUN, cause="a", log="b")),)),
    "mxnet": Target(params, (mxnet.params({"arg:a": np.ones((2, 3), "f4"), "aux:b": np.ones(1)}),)),
    "archive": Target(archive, (_tar(),)),
    "checkpoint": Target(progress, (_checkpoint(), struct.pack("<Q", 2**63) + b"{}")),
}


def refused(target: Target, folder: Path, content: bytes) -> None:
    """Read it; to be refused is as good."""
    with suppress(UserError):
        target.read(folder, content)
