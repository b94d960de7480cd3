"""A teacher's logits, stored: SCRATCH/logits/KEY/EPOCH.SHA256.f32, an epoch's logits in the epoch's order.

A view is a pure function of (seed, epoch, index), so a teacher's output is the same for every student that
sees the same views: the first process writes it, an epoch at a time, and all others read. A file has its
name only when it is whole, and its name has its digest: what a killed process or a power cut leaves is never
taken for logits. KEY is all that they depend on, to the last bit; another teacher or view is another folder.

CIFAR-100: 20 MB an epoch. Losing the folder loses nothing but time.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from time import time

import torch
from filelock import FileLock
from msgspec import json
from torch import Tensor

from kdbench.spec.runs import PROTOCOL, Run
from kdbench.store.files import is_whole
from kdbench.training.context import TrainingContext
from kdbench.training.environment import environment, input_digests
from kdbench.training.memory import GIB

BUFFER = {"cpu": 2**20, "cuda": 2**26}
"""Bytes that wait before they are written, by device: writing waits for a GPU."""
SPARE = 16
"""A process may fill a 16th of the room that is left before it counts again what others have written."""
DAY = 86_400.0
"""Seconds after which an unfinished file counts as left behind by a process that died."""
FACTS = ("torch", "cpu", "gpu", "device", "threads", "data", "teacher")
"""What of the machine and of the files can change a logit's last bit."""


def open_logits(run: Run, images: int, context: TrainingContext) -> "Logits | None":
    """The kept logits of a run's teacher on its views; None where none may be kept.

    Args:
        run: any of those who see these views; it has a teacher.
        images: of an epoch.
        context: this process's hold on its machine.
    """
    most = int(context.machine.local.logits_gib * GIB)
    if most == 0:
        return None
    return Logits(context.machine.scratch / "logits" / key(run, context), images, most)


def key(run: Run, context: TrainingContext) -> str:
    """All that a teacher's logits of a run's views depend on, as 16 hexadecimal digits."""
    recipe = run.recipe
    facts = {**environment(context.device), **input_digests(run, context)}
    depends = [PROTOCOL, run.dataset, run.precision, run.seed, recipe.batch_size, recipe.views]
    if recipe.ghost_batches:
        depends.append(recipe.ghost_batches)  # one by one, they may have other last bits
    return sha256(json.encode([depends, [facts[name] for name in FACTS]])).hexdigest()[:16]


class Logits:
    """The folder of one key.

    Args:
        folder: it is made when something is kept.
        images: of an epoch.
        most: bytes that all keys together may have.
    """

    def __init__(self, folder: Path, images: int, most: int) -> None:
        self.folder, self.images, self.most = folder, images, most
        self.spare = 0
        """Bytes that may be written before all folders are counted again, which takes its time."""

    def load(self, epoch: int) -> Tensor | None:
        """The logits of an epoch, float32 (N, K) in the epoch's order, mapped into memory; None: not kept.

        A damaged file is removed.
        """
        for path in self.folder.glob(f"{epoch}.*.f32"):
            with suppress(OSError, RuntimeError):  # another process makes room meanwhile
                count = path.stat().st_size // 4
                if is_whole(path) and count and count % self.images == 0:
                    os.utime(self.folder)
                    return torch.from_file(str(path), size=count).view(self.images, -1)
                path.unlink()
        return None

    @contextmanager
    def keeping(self, epoch: int) -> Iterator[Callable[[Tensor], None]]:
        """Keep an epoch's logits if there is room: the caller adds batch after batch, float32 (B, K).

        Nothing is kept unless the caller gets to the end. A disk that is full costs no training.
        """
        writer = EpochFile(self, epoch)
        try:
            yield writer.add
            writer.finish()
        finally:
            writer.discard()

    def make_room(self, size: int) -> bool:
        """Whether there is room for a file, once the keys that were not used for longest are gone.

        This key's own files stay: epochs are read in turn, so the oldest is the one that is needed next.
        """
        # an unfinished file counts in full: it has all of its size from the start
        folders = [folder for folder in self.folder.parent.iterdir() if folder.is_dir()]
        sizes = {folder: _size(folder) for folder in folders}
        for folder in sorted(folders, key=_used):
            if sum(sizes.values()) + size <= self.most:
                break
            if folder != self.folder:
                rmtree(folder, ignore_errors=True)
                del sizes[folder]
        left = self.most - sum(sizes.values()) - size
        self.spare = size + left // SPARE
        return left >= 0


class EpochFile:
    """A file under way. It has all of its size from the first batch on: others see how much is left."""

    def __init__(self, logits: Logits, epoch: int) -> None:
        self.logits, self.epoch = logits, epoch
        self.part = logits.folder / f".{epoch}.{token_hex(4)}.part"
        self.sha = sha256()
        self.waiting: list[Tensor] = []
        self.begun = self.stopped = False
        self.written = 0
        """Bytes."""

    def add(self, logits: Tensor) -> None:
        """A batch more."""
        if self.stopped:
            return
        self.waiting.append(logits)
        if sum(each.nbytes for each in self.waiting) > BUFFER[logits.device.type]:
            self._write()

    def finish(self) -> None:
        """All batches were added: the file gets its name."""
        self._write()
        if not self.stopped and self.begun:
            with suppress(OSError):
                self.part.replace(self.logits.folder / f"{self.epoch}.{self.sha.hexdigest()}.f32")
        self.stopped = True

    def discard(self) -> None:
        """Nothing is left of what was not finished."""
        self.stopped = True
        with suppress(OSError):
            self.part.unlink()

    def _write(self) -> None:
        try:
            if self.waiting and not self.begun and not self._begin(self.waiting[0].shape[1]):
                self.stopped = True
            if self.waiting and not self.stopped:
                content = torch.cat(self.waiting).cpu().numpy().tobytes()
                self.sha.update(content)
                with self.part.open("rb+") as file:
                    file.seek(self.written)
                    self.written += file.write(content)
        except OSError:
            self.stopped = True
        self.waiting.clear()

    def _begin(self, classes: int) -> bool:
        """Take the room, if there is any."""
        # Room is counted under a lock, and taken at once by a file of the full size: two processes that begin
        # together would else both find room for one. A 16th of what is left is then this process's to fill
        # without asking again (`spare`), since counting all folders takes its time.
        folder, self.begun = self.logits.folder, True
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        size = 4 * classes * self.logits.images
        if size <= self.logits.spare:
            self._fill(size)
            return True
        with FileLock(folder.parent / "lock"):
            for old in folder.glob(".*.part"):
                if time() - old.stat().st_mtime > DAY:
                    old.unlink()
            if not self.logits.make_room(size):
                return False
            self._fill(size)
        return True

    def _fill(self, size: int) -> None:
        self.logits.spare -= size
        with self.part.open("wb") as file:
            file.truncate(size)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _used(folder: Path) -> float:
    """When a key was last of use."""
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0
