"""The official files of a data set: read where they lie, unpacked or downloaded where they do not."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path, PurePosixPath
from shutil import rmtree

from msgspec import Struct

from kdbench.data.archive import extract, unpack
from kdbench.data.download import download, md5_of
from kdbench.data.progress import reporting
from kdbench.errors import UserError, each_of

MIRRORS = "KDBENCH_MIRRORS"
"""The environment variable that names mirrors: URLs of folders that hold the archives, space between."""


class Official(Struct, frozen=True, kw_only=True):
    """A data set, or a file of it, as its authors publish it."""

    archive: str
    """The file's name: an archive's, as a rule."""
    md5: str
    url: str = ""
    """Where it is published ("": nowhere any more)."""
    others: tuple[str, ...] = ()
    """Further addresses, tried after that one."""
    files: dict[str, str] = {}
    """The files inside that are kept: name in the archive -> md5."""
    limit: int = 1 << 29
    """The archive is no larger, in bytes."""

    @property
    def named(self) -> str:
        """What a person has to get."""
        return self.url or f"{self.archive} (md5 {self.md5})"


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
            extract(self.archive(official), self.place, official.files)
        return {name: self.verified(name, checksum) for name, checksum in official.files.items()}

    def verified(self, name: str, checksum: str) -> bytes:
        """The content of a file below the place of the data, which anybody may have put there.

        Raises:
            UserError: it is not the official one.
        """
        path = self.place / name
        content = path.read_bytes()
        found = md5(content, usedforsecurity=False).hexdigest()
        if found != checksum:
            raise UserError(
                f"{path}: not the official file: its md5 is {found} instead of {checksum}. "
                "Delete it and run `kdbench data fetch` again."
            )
        return content

    def archive(self, official: Official) -> Path:
        """Where an official archive lies, downloaded if it must be, its md5 verified.

        Raises:
            UserError: it is altered, or cannot be had.
        """
        archive = self.place / official.archive
        if not archive.exists():
            self._download(official, archive)
        elif (found := md5_of(archive)) != official.md5:
            raise UserError(
                f"{archive}: not the official archive: its md5 is {found} instead of {official.md5}. "
                "Delete it and run `kdbench data fetch` again."
            )
        return archive

    @contextmanager
    def unpacked(
        self,
        archives: Sequence[Official],
        name: str,
        wanted: Callable[[str], bool],
        beside: Sequence[Official] = (),
    ) -> Iterator[Path]:
        """A folder with the wanted members of official archives, for as long as the block lasts.

        Args:
            archives: what is unpacked.
            name: the data set's, for the folder.
            wanted: which members, by name.
            beside: files that must be there as well.

        Raises:
            UserError: an archive is altered, or cannot be had; all that cannot at once.
        """
        there = each_of(self.archive, [*archives, *beside])
        folder = self.place / f".{name}.unpacked"  # what a killed process left of it is removed first
        rmtree(folder, ignore_errors=True)
        try:
            for archive in there[: len(archives)]:
                unpack(archive, folder, wanted)
            yield folder
        finally:
            rmtree(folder, ignore_errors=True)

    def _download(self, official: Official, archive: Path) -> None:
        """Fetch an archive, or say what a person can do where it cannot be fetched."""
        urls = addresses(official, self.mirrors)
        if self.offline:
            needed = official.files or (official.archive,)
            missing = [name for name in needed if not (self.place / name).exists()]
            raise UserError(
                f"{', '.join(missing)}: not found below {self.place}, and offline nothing is fetched. "
                f"Run `kdbench data fetch` where there is a network, or put {official.named} there."
            )
        if not urls:
            raise UserError(
                f"{official.named}: its authors do not publish it any more; put it at {archive} by hand, or "
                f"name a mirror (its folder's URL) in {MIRRORS}"
            )
        with reporting(official.archive, wanted=self.progress) as report:
            download(urls, archive, official.md5, limit=official.limit, report=report)


def addresses(official: Official, mirrors: Sequence[str] = ()) -> tuple[str, ...]:
    """Where an archive is asked for, in turn: the given mirrors, the environment's, the official address."""
    found = (*mirror_addresses(PurePosixPath(official.archive).name, mirrors), official.url, *official.others)
    return tuple(dict.fromkeys(url for url in found if url))


def mirror_addresses(file: str, mirrors: Sequence[str] = ()) -> tuple[str, ...]:
    """Where mirrors would have a file: the given ones, then the environment's."""
    folders = (*mirrors, *os.environ.get(MIRRORS, "").split())
    return tuple(f"{folder.rstrip('/')}/{file}" for folder in folders)
