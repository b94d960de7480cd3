"""What is wanted of an archive whose md5 was checked before (`Fetcher.archive`): it is the published one."""

import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from kdbench.data.disk import write_whole
from kdbench.errors import UserError

_DAMAGED = (tarfile.TarError, BadZipFile, EOFError, zlib.error, OSError, ValueError)
"""ValueError: a null byte in a name."""


def extract(archive: Path, place: Path, files: Mapping[str, str]) -> None:
    """Write the members named in files (name -> md5) below place, each whole or not at all.

    Other members (a read-me) are passed over.

    Raises:
        UserError: the archive is damaged or lacks a file, or a file is not the official one.
    """
    missing = dict(files)
    with _reading(archive), tarfile.open(archive) as tar:
        for member in tar:
            if member.isreg() and member.name in missing:
                _write(tar, member, place, missing.pop(member.name), archive)
    if missing:
        raise UserError(_refusal(archive, f"it lacks {', '.join(missing)}"))


def unpack(archive: Path, place: Path, wanted: Callable[[str], bool]) -> None:
    """Write the members whose names are wanted below place, an archive's whole folder of images for one.

    Raises:
        UserError: the archive is damaged, or a wanted member is a device or leads out of the folder.
    """

    def only_wanted(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        return tarfile.data_filter(member, folder) if wanted(member.name) else None

    with _reading(archive), tarfile.open(archive) as tar:
        tar.extractall(place, filter=only_wanted)  # noqa: S202 - through the data filter


@contextmanager
def opened_zip(archive: Path) -> Iterator[ZipFile]:
    """A zip archive to read from.

    Raises:
        UserError: the archive is damaged, at once or while it is read.
    """
    with _reading(archive), ZipFile(archive) as file:
        yield file


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise UserError(_refusal(archive, f"it cannot be read ({error})")) from error


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, checksum: str, archive: Path) -> None:
    source = tar.extractfile(member)
    content = source.read() if source else b""
    found = md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise UserError(_refusal(archive, f"its {member.name} has md5 {found} instead of {checksum}"))
    write_whole(place / member.name, content)


def _refusal(archive: Path, why: str) -> str:
    return f"{archive}: refused, {why}. Delete it and run `kdbench data fetch` again."
