"""Files that appear whole or not at all, and the lock of a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kdbench.errors import UserError
from kdbench.store.files import write

ANOTHER = "name another folder in KDBENCH_DATA or as `folder` under [data] in benchmark.toml"


def hint(folder: Path) -> str:
    """What to do about a folder of data that cannot be written; where data lie there, they need no copy."""
    try:
        full = any(folder.iterdir())
    except OSError:
        return ANOTHER
    linked = f"make a folder of your own, link what lies there into it (ln -s {folder}/* FOLDER), and"
    return f"{linked} {ANOTHER}" if full else ANOTHER


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of the data whole or not at all.

    Raises:
        UserError: the place cannot be written.
    """
    write(path, content, hint=hint(path.parent))


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of this name in a folder, so that one process alone fetches and packs.

    Raises:
        UserError: the folder cannot be written.
    """
    from filelock import FileLock

    file = folder / f".{name}.lock"
    lock = FileLock(file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()  # where it cannot be made, as in /proc, FileLock would wait for ever
        lock.acquire()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}; {hint(folder)}") from error
    try:
        yield
    finally:
        lock.release()


Arrays = dict[str, NDArray[Any]]
"""train_images, test_images: uint8 (N, C, H, W); train_labels, test_labels, ...: int64 (N,); names: UTF-8.

Of images of many sizes, which lie in shards, instead: train_sizes, test_sizes: int32 (N, 2), height and
width; train_shards, test_shards: uint8 (S, 32), the sha256 of each shard.
"""
