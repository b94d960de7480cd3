"""The official files of a data set: read where they lie, unpacked or downloaded where they do not."""

import os
from collections.abc import Sequence
from hashlib import md5
from pathlib import Path

from msgspec import Struct

from kdbench.data.archive import extract
from kdbench.data.download import download, md5_of
from kdbench.data.progress import reporting
from kdbench.errors import UserError

MIRRORS = "KDBENCH_MIRRORS"
"""The environment variable that names mirrors: URLs of folders that hold the archives, space between."""


class Official(Struct, frozen=True, kw_only=True):
    """A data set as its authors publish it."""

    url: str
    archive: str
    """The archive's file name."""
    md5: str
    files: dict[str, str]
    """The files inside that are read: name in the archive -> md5."""
    limit: int = 1 << 29
    """No archive and no unpacked content is larger, in bytes."""


class Fetcher(Struct, frozen=True, kw_only=True):
    """Where official files are looked for, and whether and whence they may be fetched."""

    place: Path
    offline: bool = False
    progress: bool = False
    mirrors: tuple[str, ...] = ()
    """Tried before those of the environment and the official address."""

    def read(self, official: Official) -> dict[str, bytes]:
        """The content of every official file, by name, each with its official md5.

        Raises:
            UserError: a file is altered, or cannot be had.
        """
        if not all((self.place / name).exists() for name in official.files):
            self._unpack(official)
        return {name: self._verified(name, checksum) for name, checksum in official.files.items()}

    def _verified(self, name: str, checksum: str) -> bytes:
        path = self.place / name
        content = path.read_bytes()
        found = md5(content, usedforsecurity=False).hexdigest()
        if found != checksum:
            raise UserError(
                f"{path}: not the official file: its md5 is {found} instead of {checksum}. "
                "Delete it and run `kdbench data fetch` again."
            )
        return content

    def _unpack(self, official: Official) -> None:
        archive = self.place / official.archive
        if not archive.exists():
            self._download(official, archive)
        elif (found := md5_of(archive)) != official.md5:
            raise UserError(
                f"{archive}: not the official archive: its md5 is {found} instead of {official.md5}. "
                "Delete it and run `kdbench data fetch` again."
            )
        extract(archive, self.place, official.files, limit=official.limit)

    def _download(self, official: Official, archive: Path) -> None:
        if self.offline:
            missing = [name for name in official.files if not (self.place / name).exists()]
            raise UserError(
                f"{', '.join(missing)}: not found below {self.place}, and offline nothing is fetched. "
                f"Run `kdbench data fetch` where there is a network, or put {official.url} there."
            )
        with reporting(official.archive, wanted=self.progress) as report:
            urls = addresses(official, self.mirrors)
            download(urls, archive, official.md5, limit=official.limit, report=report)


def addresses(official: Official, mirrors: Sequence[str] = ()) -> tuple[str, ...]:
    """Where an archive is asked for, in turn: the given mirrors, the environment's, the official address."""
    folders = (*mirrors, *os.environ.get(MIRRORS, "").split())
    found = (*(f"{folder.rstrip('/')}/{official.archive}" for folder in folders), official.url)
    return tuple(dict.fromkeys(found))
