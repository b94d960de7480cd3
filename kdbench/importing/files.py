"""A file of weights -> its tensors by name, whatever framework wrote it. Nothing in the file is ever run."""

import argparse
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from kdbench.errors import UserError, git_hint
from kdbench.importing.mxnet import read_params
from kdbench.store.files import digest

LARGEST = 2_000_000_000
"""Bytes of a file, and of what an archive in it unpacks to."""

Format = Literal["mxnet", "safetensors", "pytorch"]
FORMATS: Mapping[str, Format] = {
    ".params": "mxnet",
    ".safetensors": "safetensors",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".ckpt": "pytorch",
    ".t7": "pytorch",
    ".bin": "pytorch",
    ".tar": "pytorch",
}
"""By the end of a file's name; `.tar`: the authors' `best.pth.tar`, which is no archive of that kind."""


WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network")
"""The keys under which a checkpoint may hold its weights; the first that it has is taken."""
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""The keys of weights that were averaged over the steps of training."""
REPORTED = ("best_acc", "best_acc1", "best_top1", "best_prec1", "acc", "acc1", "top1", "accuracy", "test_acc")
"""The keys under which a checkpoint may say how accurate it is."""
Which = Literal["", "ema", "plain"]
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
    which: Which = ""
    """Which of the weights were taken, where the file holds averaged ones beside the plain ones."""
    reported: tuple[str, float] | None = None
    """The accuracy in percent that the file gives, with its key."""


def read_weights(path: Path, which: Which = "") -> Weights:
    """Read a file of weights.

    Args:
        path: the file.
        which: of the averaged (`ema`) and the `plain` weights; needed where it holds both.

    Raises:
        UserError: missing, too large, of an unknown kind, broken, or it would run code; or which weights are
            meant is open.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None and not path.exists():
        raise UserError(f"{path}: there is no such file")
    if kind is None:
        ending = repr(path.suffix) if path.suffix else "without an ending"
        raise UserError(f"{path}: unknown kind of file {ending}. Valid: {', '.join(FORMATS)}")
    try:
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: {path.stat().st_size:,} bytes; at most {LARGEST:,}")
        if what := _kind(path):
            raise UserError(f"{path}: no file of weights: {what}")
        content = READERS[kind](path)
        state, taken = _state_dict(content, which, path)
        tensors = _checked(without_prefixes(state), path)
        return Weights(path.name, kind, digest(path), tensors, taken, _reported(content))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _mxnet(path: Path) -> object:
    arrays = read_params(path.read_bytes(), str(path))
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _safetensors(path: Path) -> object:
    try:
        return dict(load_safetensors(path.read_bytes()))
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no whole safetensors file: {error}; fetch it again") from error


def _pytorch(path: Path) -> object:
    """What torch.save wrote: weights and plain values; of anything else nothing is built and nothing run."""
    _check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(BESIDE_WEIGHTS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle may break the unpickler in any way
        raise UserError(f"{path}: refused: {_why_not(path, error)}") from error


def _why_not(path: Path, error: Exception) -> str:
    """Why torch did not read a file, without its advice to switch safety off."""
    named = list(_names_in_pickle(path))
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    if any(name.startswith("torch.nn.modules.") for name in named):
        what = next((name for name in named if not name.startswith(("torch", "collections"))), named[0])
        return (
            f"it is a whole pickled network ({what:.120}), which runs code when it is opened; where its code "
            f"is, open it and torch.save(network.state_dict(), ...)"
        )
    if foreign:
        return (
            f"beside weights it holds a {foreign[1]:.120}, which runs code when it is read; save the bare "
            f"state dict, best with safetensors"
        )
    return f"no whole file that torch.save wrote ({type(error).__name__}); fetch it again"


def _names_in_pickle(path: Path) -> Iterator[str]:
    """The classes that a file of torch.save names, read as text: `torch.nn.modules.conv.Conv2d`."""
    with suppress(Exception), path.open("rb") as file:
        if _is_archive(path):
            with zipfile.ZipFile(file) as archive:
                (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
                with archive.open(pickled) as inside:
                    yield from _globals(inside)  # type: ignore[arg-type]
        else:
            for _ in range(4):  # before the weights: a magic number, the protocol and facts of the system
                yield from _globals(file)


def _globals(file: BinaryIO) -> Iterator[str]:
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")


def _state_dict(content: object, which: Which, path: Path) -> tuple[dict[str, object], Which]:
    """The weights in a file, on their own or under a key of a checkpoint; which, where it has both kinds.

    Raises:
        UserError: it holds averaged weights beside plain ones and which are meant is open, or not the ones
            that are asked for, or no weights.
    """
    taken: Which = ""
    averaged, plain = _under(content, AVERAGED), _under(content, WRAPPERS)
    if which == "ema" and not averaged:
        raise UserError(f"{path}: --weights ema: it holds no averaged weights ({', '.join(AVERAGED)})")
    if which == "plain" and averaged and not plain:
        raise UserError(f"{path}: --weights plain: it holds only averaged weights ({averaged})")
    if averaged and plain:
        if not which:
            raise UserError(
                f"{path}: holds plain weights ({plain}) and averaged ones ({averaged}), whose accuracies "
                f"differ; add --weights plain or --weights ema"
            )
        taken = which
    # Trainers wrap each other: {"state_dict": {"model": {...}}} is opened down to the tensors.
    key = averaged if averaged and (which == "ema" or not plain) else plain
    while key:
        content = content[key]  # type: ignore[index]
        key = _under(content, WRAPPERS)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict of tensors by name")
    return {str(name): value for name, value in content.items()}, taken


def _under(content: object, keys: tuple[str, ...]) -> str:
    """The first of the keys under which a checkpoint holds something by names; "" where there is none."""
    if not isinstance(content, dict):
        return ""
    return next((key for key in keys if isinstance(content.get(key), dict)), "")


def _reported(content: object) -> tuple[str, float] | None:
    """The accuracy that a checkpoint gives, in percent, with its key; a fraction is brought to percent."""
    for key in REPORTED if isinstance(content, dict) else ():
        try:
            value = float(content.get(key))  # type: ignore[attr-defined]
        except (TypeError, ValueError, RuntimeError):
            continue
        if 0 < value <= 100:
            return key, value if value > 1 else 100 * value
    return None


UNPACK = "unpack it and import the one that holds the weights"
FETCH = "fetch the file itself"
BEGINNINGS = {
    f"an HTML page, as of a download that asks to be confirmed; {FETCH}": (b"<!doctype", b"<html"),
    f"a server's message of an error; {FETCH}": (b"<?xml", b'{"error', b'{"message'),
    f"compressed with gzip; {UNPACK}": (b"\x1f\x8b",),
}
"""Other kinds of files, and what they begin with, in small letters."""


def _kind(path: Path) -> str:
    """What a file is that is no file of weights, with what to do; "" of any other."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "it is empty; fetch it again"
    if start.startswith(b"PK") and not _is_archive(path):
        return "it ends in the middle or is damaged; fetch it again"
    if start[257:262] == b"ustar":
        return f"it is a tar archive of several files; {UNPACK}"
    for kind, beginnings in BEGINNINGS.items():
        if start.lstrip().lower().startswith(beginnings):
            return f"it is {kind}"
    return git_hint(start)


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


def _check_archive(path: Path) -> None:
    """An archive may unpack to far more than it is, or be another kind of archive than torch.save's."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise UserError(f"{path}: refused, a broken archive: {error}; fetch it again") from error
    if size > LARGEST:
        raise UserError(f"{path}: unpacks to {size:,} bytes; at most {LARGEST:,}")
    if any(name.endswith("/constants.pkl") for name in names):
        raise UserError(
            f"{path}: refused: it is a TorchScript program; where it is trusted, open it with torch.jit.load "
            f"and torch.save(network.state_dict(), ...)"
        )
    if not any(name.endswith("data.pkl") for name in names):
        raise UserError(f"{path}: no file of weights: it is a zip archive of other files; {UNPACK}")


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
