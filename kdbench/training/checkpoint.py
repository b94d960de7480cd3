"""Tensors on disk: what teaches, and what a run goes on from. safetensors, never a pickle."""

from collections.abc import Callable, Collection, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import torch
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kdbench.errors import DivergedError
from kdbench.quantities import Count, Positive
from kdbench.spec.results import Curve, Environment, Segment
from kdbench.spec.weights import Digest
from kdbench.store.files import is_whole, write
from kdbench.store.weights import checkpoints
from kdbench.training.optim import Optimizer

T = TypeVar("T")
GENERATIONS = 2
"""Checkpoints kept of a run under way: should the newest be broken, the one before it serves."""
Epoch = Annotated[str, Meta(pattern=r"\A([1-9]\d{0,8}|best)\Z")]
Base64 = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9+/]*={0,2}\Z")]
Basis = Mapping[str, str | None]
"""What all epochs of a run have in common: the digests of its data and of its teacher's weights."""


class EpochResult(NamedTuple):
    """What an epoch has given."""

    top1: float
    """On the test images, in percent."""
    test_loss: float
    train_loss: float
    seconds: float
    """With evaluation."""
    training_seconds: float
    """Without it."""
    peak_memory: int
    """In bytes; of several ranks, the sum of theirs."""
    validation_top1: float | None
    """On held-out images, should there be any."""


@dataclass
class Progress:
    """What a run has given so far."""

    epoch: Count = 0
    top1: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    training_seconds: float = 0.0
    peak_memory: int = 0
    weights: dict[Epoch, Digest] = field(default_factory=dict)
    """The sha256 of each checkpoint kept for a student, by epoch."""
    predicted: dict[Epoch, Base64] = field(default_factory=dict)
    """What was predicted after the epochs that are kept: `kdbench.store.predictions.encode`, in base64."""
    starts: list[tuple[Positive, Environment]] = field(default_factory=list)
    """Of each process that trained some epochs: its first one, and its environment."""
    validation_top1: list[float] = field(default_factory=list)
    """On held-out images; empty where there are none."""

    def start(self, environment: Environment) -> None:
        """Note that a process goes on from here."""
        if self.epoch and not self.starts:  # a checkpoint of before this was noted
            self.starts.append((1, {}))
        self.starts.append((self.epoch + 1, environment))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The epochs of each process that finished one."""
        # each process went on where the one before it had its last checkpoint; one that finished no epoch has
        # an end before its start, and is left out
        ends = [first - 1 for first, _ in self.starts[1:]] + [self.epoch]
        found = (Segment(first, end, of) for (first, of), end in zip(self.starts, ends, strict=True))
        return tuple(each for each in found if each.first_epoch <= each.last_epoch)

    def add(self, found: EpochResult) -> None:
        """Note what the next epoch has given.

        Raises:
            DivergedError: the test loss is NaN or infinite.
        """
        self.epoch += 1
        if not isfinite(found.test_loss):
            raise DivergedError(
                f"diverged at epoch {self.epoch}, in its last step: the test loss is {found.test_loss}"
            )
        self.top1.append(found.top1)
        if found.validation_top1 is not None:
            self.validation_top1.append(found.validation_top1)
        self.test_loss.append(found.test_loss)
        self.train_loss.append(found.train_loss)
        self.seconds.append(round(found.seconds, 3))
        self.training_seconds += found.training_seconds
        self.peak_memory = max(self.peak_memory, found.peak_memory)

    @property
    def curve(self) -> Curve:
        """The epochs as a value."""
        parts = (self.top1, self.test_loss, self.train_loss, self.seconds, self.validation_top1)
        return Curve(*map(tuple, parts))


def weights_content(model: nn.Module) -> bytes:
    """A model's weights and statistics as safetensors has them."""
    return save({key: value.contiguous() for key, value in model.state_dict().items()}, {})


def save_weights(folder: Path, name: int | str, content: bytes, *, durable: bool = True) -> str:
    """Write weights (`weights_content`) as NAME.SHA256.safetensors; `durable`: synced (`store.files.write`).

    Returns:
        The sha256.

    Raises:
        UserError: the folder cannot be written.
    """
    sha = sha256(content).hexdigest()
    write(folder / f"{name}.{sha}.safetensors", content, durable=durable)
    return sha


def load_weights(path: Path, model: nn.Module) -> None:
    """Fill a model with a checkpoint's weights and statistics; the names and shapes must be the same."""
    model.load_state_dict(load_file(path))


class Writer:
    """Writes one checkpoint at a time in a thread of its own, while training goes on.

    What it writes are copies (`tensors_of`), so that no number depends on how long it takes. On a busy
    CPU that saves little: it is for disks on which a sync takes long.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.last: Future[Any] | None = None

    def start(self, write: Callable[[], T]) -> Future[T]:
        """Start a write, as soon as the one before it has ended: no two of them are in memory."""
        self.wait()
        self.last = self.thread.submit(write)
        return self.last

    def wait(self) -> None:
        """Until nothing is being written; if that failed, its run finds out from its Future."""
        if self.last is not None:
            futures.wait([self.last])
            self.last = None


def tensors_of(trained: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """A copy of all that the next epoch depends on, on the CPU and contiguous, as safetensors wants it.

    Args:
        trained: a ModuleDict: "model" is the student, "distiller" what is trained beside it, "ema" the mean
            of the student's weights where the recipe has one.
        optimizer: of its parameters.
    """
    copied: dict[str, Tensor] = {}
    for name, value in _state(trained, optimizer).items():
        copied[name] = value.to("cpu", copy=True, memory_format=torch.contiguous_format)
    return copied


def save_progress(
    folder: Path, progress: Progress, tensors: Mapping[str, Tensor], basis: Basis, *, durable: bool = True
) -> None:
    """Write a checkpoint; only the newest generations stay.

    `tensors` are those of `tensors_of`; `durable`: the file is synced (`store.files.write`).

    The order and views of the images and the seeds of dropout are functions of the epoch: no random
    state is kept.

    Raises:
        UserError: the folder cannot be written.
    """
    note = {"run": folder.name, "basis": _json(basis), "progress": _json(vars(progress))}
    save_weights(folder, progress.epoch, save(dict(tensors), note), durable=durable)
    for old in checkpoints(folder)[GENERATIONS:]:
        old.unlink(missing_ok=True)
    # weights of an earlier best, or of a life of the run that this checkpoint does not continue
    kept = {f"{name}.{sha}.safetensors" for name, sha in progress.weights.items()}
    for path in (folder / "weights").glob("*.safetensors"):
        if path.name not in kept:
            path.unlink()


def load_progress(
    folder: Path, trained: nn.Module, optimizer: Optimizer, basis: Basis, wanted: Collection[int | str] = ()
) -> Progress:
    """Go on from the newest checkpoint that serves; from the start where none does.

    One that does not serve is removed, so that it does not count as a generation: a damaged one, one of
    another run, of other data or another teacher, and one that is past an epoch whose weights are wanted
    and were not kept.
    """
    for path in checkpoints(folder):
        progress = read_progress(path, basis)
        if progress is None or _lacks(progress, wanted) or not _fill(path, trained, optimizer):
            path.unlink()
            continue
        return progress
    return Progress()


def publish(folder: Path, weights: Path, kept: Mapping[str, str]) -> None:
    """Hand a finished run's weights over to those who learn from it, in place of an earlier training's."""
    weights.mkdir(parents=True, exist_ok=True)
    for name, sha in kept.items():
        ours = folder / "weights" / f"{name}.{sha}.safetensors"
        if ours.exists():
            ours.replace(weights / ours.name)
        for other in weights.glob(f"{name}.*.safetensors"):
            if other.name != ours.name:
                other.unlink()


def forget(folder: Path) -> None:
    """Remove a finished run's checkpoints."""
    rmtree(folder, ignore_errors=True)


def read_progress(path: Path, basis: Basis | None = None) -> Progress | None:
    """What a checkpoint says of the run; None where it is damaged, or of another run or basis."""
    if not is_whole(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            note = file.metadata() or {}
        progress = msgspec.json.decode(note.get("progress", ""), type=Progress)
        theirs = msgspec.json.decode(note.get("basis", ""))
    except (SafetensorError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    parts = [progress.top1, progress.test_loss, progress.train_loss, progress.seconds]
    parts += [progress.validation_top1] if progress.validation_top1 else []
    whole = {len(part) for part in parts} == {progress.epoch} == {int(path.name.partition(".")[0])}
    ours = note.get("run") == path.parent.name and theirs == (basis or theirs)
    return progress if whole and ours else None


def _fill(path: Path, trained: nn.Module, optimizer: Optimizer) -> bool:
    """Take over a checkpoint's tensors, all or none: none where one of them does not fit."""
    tensors = load_file(path)
    there = _state(trained, optimizer)
    if {key: (value.shape, value.dtype) for key, value in tensors.items()} != {
        key: (value.shape, value.dtype) for key, value in there.items()
    }:
        return False
    trained.load_state_dict({key: tensors[key] for key in trained.state_dict()})
    for number, value in enumerate(optimizer.state):
        value.copy_(tensors[f"optimizer.{number}"])
    return True


def _state(trained: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: `model.fc.weight`, `optimizer.0`."""
    remembered = {f"optimizer.{number}": value for number, value in enumerate(optimizer.state)}
    return {**trained.state_dict(), **remembered}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _lacks(progress: Progress, wanted: Collection[int | str]) -> bool:
    over = {str(epoch) for epoch in wanted if isinstance(epoch, int) and epoch <= progress.epoch}
    return not over <= progress.weights.keys()
