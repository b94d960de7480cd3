"""What is wanted of an archive, and nothing else: no links, no way out, bounded."""

import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from stat import S_ISLNK
from zipfile import BadZipFile, ZipFile

from kdbench.data.bounded import members, opened_tar
from kdbench.data.disk import write_whole
from kdbench.errors import UserError

_DAMAGED = (tarfile.TarError, BadZipFile, EOFError, zlib.error, OSError, ValueError)
"""ValueError: a null byte in a name."""


def extract(archive: Path, place: Path, files: Mapping[str, str], *, limit: int) -> None:
    """Write the members named in files (name -> md5) below place, each whole or not at all.

    Harmless other members (a read-me) are passed over. One link, device, absolute name or `..`
    anywhere, or more than limit bytes in all, and the archive is refused.

    Raises:
        UserError: the archive is damaged, dangerous or lacks a file.
    """
    missing = dict(files)
    with _reading(archive), opened_tar(archive, limit=limit) as tar:
        for member in _safe(tar, archive, limit):
            if member.isreg() and member.name in missing:
                _write(tar, member, place, missing.pop(member.name), archive)
    if missing:
        raise UserError(_refusal(archive, f"it lacks {', '.join(missing)}"))


def unpack(archive: Path, place: Path, wanted: Callable[[str], bool], *, limit: int) -> None:
    """Write the members whose names are wanted below place, an archive's whole folder of images for one.

    Raises:
        UserError: the archive is damaged or dangerous, as `extract` has it.
    """
    with _reading(archive), opened_tar(archive, limit=limit) as tar:
        for member in _safe(tar, archive, limit):
            content = tar.extractfile(member) if wanted(member.name) else None
            if content is not None:
                path = place / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    copyfileobj(content, file)


@contextmanager
def opened_zip(archive: Path, *, limit: int) -> Iterator[ZipFile]:
    """A zip archive to read from, its members checked as `extract` does.

    Raises:
        UserError: the archive is damaged or dangerous, at once or while it is read.
    """
    with _reading(archive), ZipFile(archive) as file:
        total = 0
        for member in file.infolist():
            _check_name(member.filename, archive)
            if S_ISLNK(member.external_attr >> 16):
                raise UserError(_refusal(archive, f"its member {member.filename!r} is a link"))
            total = _add(total, member.file_size, limit, archive)
        yield file


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise UserError(_refusal(archive, f"it cannot be read ({error})")) from error


def _safe(tar: tarfile.TarFile, archive: Path, limit: int) -> Iterator[tarfile.TarInfo]:
    total = 0
    for member in members(tar):
        if not (member.isreg() or member.isdir()):
            raise UserError(_refusal(archive, f"its member {member.name!r} is neither file nor folder"))
        _check_name(member.name, archive)
        total = _add(total, member.size, limit, archive)
        yield member


def _check_name(name: str, archive: Path) -> None:
    if "\0" in name:
        raise UserError(_refusal(archive, f"its member {name!r} has a null byte in its name"))
    if ".." in PurePosixPath(name).parts or name.startswith(("/", "\\")):
        raise UserError(_refusal(archive, f"its member {name!r} leads out of the folder"))


def _add(total: int, size: int, limit: int, archive: Path) -> int:
    if total + size > limit:
        raise UserError(_refusal(archive, f"it unpacks to more than {limit:,} bytes"))
    return total + size


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, checksum: str, archive: Path) -> None:
    source = tar.extractfile(member)
    content = source.read() if source else b""
    found = md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise UserError(_refusal(archive, f"its {member.name} has md5 {found} instead of {checksum}"))
    write_whole(place / member.name, content)


def _refusal(archive: Path, why: str) -> str:
    return f"{archive}: refused, {why}. Delete it and run `kdbench data fetch` again."
