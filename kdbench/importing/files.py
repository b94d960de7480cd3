"""A file of weights -> its tensors by name, whatever framework wrote it. Nothing in the file is ever run."""

import struct
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from kdbench.catalog import unknown
from kdbench.errors import UserError
from kdbench.importing.mxnet import read_params
from kdbench.store.records import digest

if TYPE_CHECKING:
    from collections.abc import Mapping


LARGEST = 2_000_000_000
"""Bytes of a file, and of what an archive in it unpacks to."""

Format = Literal["mxnet", "safetensors", "pytorch"]
FORMATS: "Mapping[str, Format]" = {
    ".params": "mxnet",
    ".safetensors": "safetensors",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".bin": "pytorch",
    ".tar": "pytorch",
}
"""By the end of a file's name; `.tar`: the authors' `best.pth.tar`, which is no archive of that kind."""


class Weights(Struct, frozen=True):
    """What a file holds, and which file it was."""

    file: str
    """Its name, without the folder."""
    format: Format
    sha256: str
    tensors: dict[str, Tensor]


def read_weights(path: Path) -> Weights:
    """Read a file of weights.

    Raises:
        UserError: missing, too large, of an unknown kind, broken, or it would run code.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: {unknown('kind of file', path.suffix, FORMATS)}")
    try:
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: {path.stat().st_size:,} bytes; at most {LARGEST:,}")
        tensors = READERS[kind](path)
        return Weights(path.name, kind, digest(path), _checked(tensors, path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _mxnet(path: Path) -> dict[str, object]:
    arrays = read_params(path.read_bytes(), str(path))
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _safetensors(path: Path) -> dict[str, object]:
    try:
        return dict(load_safetensors(path.read_bytes()))
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no whole safetensors file: {error}") from error


def _pytorch(path: Path) -> dict[str, object]:
    """A state dict, on its own or under `state_dict` or `model` in a checkpoint."""
    _check_unpacked(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle may break the unpickler in any way
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{path}: refused: torch.load(weights_only=True) says: {reason[:300]}; "
            "save the bare state dict, best with safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds a {type(found).__name__}, not a state dict of tensors by name")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _check_unpacked(path: Path) -> None:
    """An archive may unpack to far more than it is."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise UserError(f"{path}: refused, a broken archive: {error}; fetch it again") from error
    if size > LARGEST:
        raise UserError(f"{path}: unpacks to {size:,} bytes; at most {LARGEST:,}")


READERS = {"mxnet": _mxnet, "safetensors": _safetensors, "pytorch": _pytorch}


def _checked(tensors: dict[str, object], path: Path) -> dict[str, Tensor]:
    """All of them dense, finite tensors.

    Raises:
        UserError: one sentence for each that is not.
    """
    good: dict[str, Tensor] = {}
    problems = []
    for name, value in tensors.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            problems.append(f"{path}: {name!r:.80} is no dense tensor but a {type(value).__name__}")
        elif value.is_floating_point() and not value.isfinite().all():
            problems.append(f"{path}: {name!r:.80} holds NaN or infinite values")
        else:
            good[name] = value.contiguous()
    if not tensors:
        problems.append(f"{path}: holds no tensors")
    if problems:
        raise UserError(*problems[:20])
    return good
