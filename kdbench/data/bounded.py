"""A tar.gz archive that cannot take more memory or time than its bound, whatever its headers say."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path

MOST_MEMBERS = 200_000


class Bounded(GzipFile):
    """A stream that unpacks to no more than its bound: the headers of an archive are read whole."""

    def __init__(self, path: Path, bound: int) -> None:
        super().__init__(path)
        self.bound = bound

    def read(self, size: int | None = -1) -> bytes:
        """As a file does."""
        wanted = self.bound + 1 if size is None or size < 0 else size
        if self.tell() + wanted > self.bound:
            raise tarfile.ReadError(f"it unpacks to more than {self.bound:,} bytes")
        return super().read(size)


@contextmanager
def opened_tar(path: Path, *, limit: int) -> Iterator[tarfile.TarFile]:
    """An archive to read from, of at most `limit` bytes of members and as much again of headers.

    Raises:
        tarfile.TarError, EOFError, zlib.error, OSError: it is damaged, or goes beyond its bound.
    """
    with (
        Bounded(path, 2 * limit + tarfile.RECORDSIZE) as stream,
        tarfile.open(fileobj=stream, mode="r:") as tar,
    ):
        yield tar


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of an archive, one after the other, none of them kept.

    Raises:
        tarfile.ReadError: there are too many.
    """
    for _ in range(MOST_MEMBERS):
        member = tar.next()
        if member is None:
            return
        yield member
        tar.members.clear()  # type: ignore[attr-defined]
    raise tarfile.ReadError(f"it has more than {MOST_MEMBERS:,} members")
