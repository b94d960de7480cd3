"""One run, one trainer: a hold that works in any shared folder and between clocks that differ.

    SCRATCH/locks/ID/7    the seventh hold on a run; the highest number counts

A hold is taken by creating the next number, which one process alone can do on any file system (O_EXCL). Its
owner keeps it by writing another beat into it every few seconds. Whoever finds it taken watches it: a file
that has not changed for `LEASE_TIMEOUT_S` of the watcher's own clock has lost its owner. A watcher on the
same machine need not wait, since the kernel lifts a dead process's flock; between machines flock says
nothing, as over NFS it may be local to each.

An owner that was thought dead and comes back (a stopped process, a network folder that was gone) finds the
higher number before it writes again: `Lease.check`.
"""

import fcntl
import os
import platform
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, time
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from kdbench.errors import UserError

BEAT = 5.0
"""Seconds between two signs of life."""
LEASE_TIMEOUT_S = 60.0
"""Seconds without one after which an owner on another machine counts as dead."""
SIZE = 400
"""Bytes of a hold: always the same, so that a beat needs no room on a full disk."""


class LostError(Exception):
    """Another process has taken this run over: it is no failure of the run."""


class Holder(Struct, frozen=True, kw_only=True):
    """What a hold says of its owner."""

    host: str
    pid: int
    kernel: str
    """Which running kernel lifts its flock; "" where the folder knows no flock."""
    beat: int = 0
    free: bool = False
    """Given back."""


class Watch:
    """When this process last saw each hold of others change, by its own clock."""

    def __init__(self) -> None:
        self.seen: dict[Path, tuple[bytes, float]] = {}

    def alive(self, hold: Path) -> bool:
        """Whether a hold has an owner, as far as is known by now."""
        try:
            content = hold.read_bytes()
        except OSError:
            return True  # it is just being replaced, or the folder is gone: look again
        holder = _holder(content)
        if holder is not None and holder.free:
            return False
        if holder is not None and holder.kernel == kernel():
            return _locked(hold)
        # On another machine: flock says nothing, and its clock may be wrong. Only a change is a sign of life.
        before, since = self.seen.get(hold, (None, 0.0))
        if content != before:
            self.seen[hold] = (content, monotonic())
            return True
        if monotonic() - since < LEASE_TIMEOUT_S:
            return True
        del self.seen[hold]
        return False


class Lease:
    """This process's hold on a run; it beats in a thread of its own until it is given back."""

    def __init__(self, folder: Path, number: int, file: int) -> None:
        self.folder, self.number, self.file = folder, number, file
        self.holder = Holder(host=platform.node(), pid=os.getpid(), kernel=_flock(file))
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._beat, name=f"lease {folder.name}", daemon=True)

    def check(self) -> None:
        """Make sure that nobody has taken the run over; to be called before each write.

        Raises:
            LostError: somebody has.
        """
        if _newest(self.folder) != self.number:
            raise LostError(f"{self.folder.name}: another process trains it now")

    def give_back(self) -> None:
        """Let others have the run, at once."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()
        with suppress(OSError):
            self.write(free=True)
        os.close(self.file)

    def write(self, *, beat: int = 0, free: bool = False) -> None:
        """Say how we are. A hold that is given back is closed at once, which makes it visible to others."""
        holder = msgspec.structs.replace(self.holder, beat=beat, free=free)
        os.pwrite(self.file, msgspec.json.encode(holder).ljust(SIZE), 0)
        if not free:
            os.fsync(self.file)

    def _beat(self) -> None:
        beat = 0
        while not self.over.wait(BEAT):
            beat += 1
            with suppress(OSError):  # the folder is gone for a while: what is lost by then, `check` finds
                self.write(beat=beat)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()


def take(folder: Path, watch: Watch) -> Lease | None:
    """Take a run, if nobody has it.

    Args:
        folder: the run's own, where its holds lie; made if need be.
        watch: what this process has seen so far. A dead owner on another machine is found out by asking
            again for `LEASE_TIMEOUT_S` seconds.

    Returns:
        The hold; None where another process has it, or was faster.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        newest = _newest(folder)
        if newest and watch.alive(folder / str(newest)):
            return None
        return _create(folder, newest + 1)
    except (FileExistsError, FileNotFoundError):  # somebody else took it, or removed what nobody holds
        if folder.is_dir():
            return None
        raise UserError(f"{folder}: cannot be written: there is a file in its place") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error


def _create(folder: Path, number: int) -> Lease | None:
    """Make the file of a lease; None where a newer number shows that this one was long used.

    The caller holds the lease when it has the newest number; files of lower numbers are dead and go.
    """
    path = folder / str(number)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    lease = Lease(folder, number, file)
    with ExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        undo.callback(os.close, file)
        lease.write()
        if _newest(folder) != number:  # a slow look at a number that was long used and removed
            return None
        undo.pop_all()
    for other in _numbers(folder):
        if other < number:
            (folder / str(other)).unlink(missing_ok=True)
    lease.thread.start()
    return lease


def owner(folder: Path) -> Holder | None:
    """Who seems to hold a run, for a message; takes no time and no part in deciding who does.

    Of an owner on another machine, the age of its last beat is measured by this machine's clock.
    """
    path = folder / str(_newest(folder))
    try:
        holder, age = _holder(path.read_bytes()), time() - path.stat().st_mtime
    except OSError:
        return None
    if holder is None or holder.free:
        return None
    alive = _locked(path) if holder.kernel == kernel() else age < 10 * LEASE_TIMEOUT_S
    return holder if alive else None


def remove_free(folder: Path) -> None:
    """Remove the folder of a run that nobody holds."""
    lease = take(folder, Watch())
    if lease is not None:
        lease.give_back()
        (folder / str(lease.number)).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isdecimal()]  # noqa: PTH208 - names will do
    except FileNotFoundError:
        return []


def _newest(folder: Path) -> int:
    return max(_numbers(folder), default=0)


def _holder(content: bytes) -> Holder | None:
    """None: it is just being made, or was damaged."""
    try:
        return msgspec.json.decode(content, type=Holder)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def kernel() -> str:
    """Which running kernel this is: flock can distinguish a dead process on this one from a live one."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return platform.node()


def _flock(file: int) -> str:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return ""
    return kernel()


def _locked(path: Path) -> bool:
    """Whether a process of this machine holds the file's flock."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
