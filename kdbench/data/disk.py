"""Files that appear whole or not at all, and the lock of a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdbench.errors import UserError
from kdbench.store import write

CURE = "name another folder in KDBENCH_DATA or as `folder` under [data] in benchmark.toml"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of the data whole or not at all.

    Raises:
        UserError: the place cannot be written.
    """
    write(path, content, cure=CURE)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of this name in a folder, so that one process alone fetches and packs.

    Raises:
        UserError: the folder cannot be written.
    """
    from filelock import FileLock

    lock = FileLock(folder / f".{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}; {CURE}") from error
    try:
        yield
    finally:
        lock.release()
