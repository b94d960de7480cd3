"""A file of weights -> its tensors by name, whatever framework wrote it. Nothing in the file is ever run."""

import argparse
import struct
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from kdbench.catalog import unknown
from kdbench.errors import UserError, git_hint
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


WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network", "state_dict_ema", "model_ema")
"""The keys under which a checkpoint may hold its weights; the first that it has is taken."""
PREFIXES = ("module.", "_orig_mod.", "model.", "student.")
"""What data parallelism, torch.compile and trainers put before each name."""
_SCALAR = np.float64(0).__reduce__()[0]
BESIDE_WEIGHTS: list[Any] = [
    *(argparse.Namespace, np.dtype, _SCALAR, (_SCALAR, "numpy.core.multiarray.scalar")),  # numpy 2's, and 1's
    *(type(np.dtype(each)) for each in ("f2", "f4", "f8", "i4", "i8", "?")),
]
"""What the field keeps beside weights and torch may unpickle: options of a script, numpy's numbers."""


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
        if what := _kind(path):
            raise UserError(f"{path}: no file of weights: {what}")
        tensors = without_prefixes(READERS[kind](path))
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
    """A state dict, on its own or under one of `WRAPPERS` in a checkpoint."""
    _check_unpacked(path)
    try:
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(BESIDE_WEIGHTS):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle may break the unpickler in any way
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{path}: refused: torch.load(weights_only=True) says: {reason[:300]}; "
            "save the bare state dict, best with safetensors"
        ) from error
    while isinstance(found, dict):
        inside = [found[key] for key in WRAPPERS if isinstance(found.get(key), dict)]
        if not inside:
            break
        found = inside[0]
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds a {type(found).__name__}, not a state dict of tensors by name")
    return {str(name): value for name, value in found.items()}


def _kind(path: Path) -> str:
    """What a file is that is no file of weights, with what to do; "" of any other."""
    with path.open("rb") as file:
        start = file.read(512)
    if hint := git_hint(start):
        return hint
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is an HTML page, as of a download that asks to be confirmed; fetch the file itself"
    if start[257:262] == b"ustar":
        return "it is a tar archive of several files; unpack it and import the one that holds the weights"
    if start.startswith(b"PK") and not _is_archive(path):
        return "it ends in the middle or is damaged; fetch it again"
    return ""


def _is_archive(path: Path) -> bool:
    """Whether a file ends as a zip archive does; Python raises where the end itself is damaged."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


def _prefix_of_all(names: Collection[str]) -> str:
    """The first of `PREFIXES` with which all names begin; "" where there is none."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in names):
            return prefix
    return ""


def without_prefixes(tensors: dict[str, object]) -> dict[str, object]:
    """Tensors without the prefixes that wrappers of networks put before all their names, in any order."""
    while tensors:
        prefix = _prefix_of_all(tensors)
        if not prefix:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


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
