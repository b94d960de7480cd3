"""Folders that must stay the ones they are: over a network they may be gone for a while."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from kdbench.errors import UserError

MOUNT_TIMEOUT_S = 600.0
"""Seconds that a folder may be gone before a run that wants to write into it fails."""
LOOK = 1.0
"""Seconds between two looks."""
T = TypeVar("T")


class GoneError(UserError):
    """A folder did not come back: nothing may be written in its place, not even that."""


class MountGuard:
    """A folder as it was found, by its inode: an empty one under its mount point is another."""

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
        self.path, self.inode = path, _inode(path)

    @property
    def here(self) -> bool:
        """Whether it is there now."""
        return _inode(self.path) == self.inode

    def wait(self) -> None:
        """Wait until it is there.

        Raises:
            GoneError: it did not come back.
        """
        since = monotonic()
        while not self.here:
            if monotonic() - since > MOUNT_TIMEOUT_S:
                raise GoneError(f"{self.path}: the folder has been gone for {MOUNT_TIMEOUT_S:.0f} seconds")
            sleep(LOOK)


def retry_until_mounted(write: Callable[[], T], folders: Sequence[MountGuard]) -> T:
    """Write something into folders, as soon as all of them are there.

    Raises:
        GoneError: one did not come back.
        UserError: it cannot be written although they are there.
    """
    while True:
        for folder in folders:
            folder.wait()
        try:
            return write()
        except UserError:
            # A folder that went away during the write is waited for; any other failure is the write's own.
            if all(folder.here for folder in folders):
                raise


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
