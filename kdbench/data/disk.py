"""Files that appear whole or not at all, and the lock of a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdbench.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, make sure of it, then give it its own.

    Raises:
        UserError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(unwritable(path, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


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
        raise UserError(unwritable(folder, error)) from error
    try:
        yield
    finally:
        lock.release()


def unwritable(path: Path, error: OSError) -> str:
    """What to say where a place cannot be written."""
    return (
        f"{path} cannot be written ({error.strerror or error}). "
        "Name another folder in KDBENCH_DATA or as `folder` under [data] in benchmark.toml."
    )
