"""The expected files of a tar.gz archive, and nothing else: no links, no way out, bounded."""

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from hashlib import md5
from pathlib import Path

from kdbench.data.bounded import members, opened_tar
from kdbench.data.disk import write_whole
from kdbench.errors import UserError


def extract(archive: Path, place: Path, files: Mapping[str, str], *, limit: int) -> None:
    """Write the members named in files (name -> md5) below place, each whole or not at all.

    Harmless other members (a read-me) are passed over. One link, device, absolute name or `..`
    anywhere, or more than limit bytes in all, and the archive is refused.

    Raises:
        UserError: the archive is damaged, dangerous or lacks a file.
    """
    missing = dict(files)
    try:
        with opened_tar(archive, limit=limit) as tar:
            for member in _safe(tar, archive, place, limit):
                if member.isreg() and member.name in missing:
                    _write(tar, member, place, missing.pop(member.name), archive)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:  # ValueError: \0 in a name
        raise UserError(_refusal(archive, f"it cannot be read ({error})")) from error
    if missing:
        raise UserError(_refusal(archive, f"it lacks {', '.join(missing)}"))


def _safe(tar: tarfile.TarFile, archive: Path, place: Path, limit: int) -> Iterator[tarfile.TarInfo]:
    total = 0
    for member in members(tar):
        if not (member.isreg() or member.isdir()):
            raise UserError(_refusal(archive, f"its member {member.name!r} is neither file nor folder"))
        if ".." in Path(member.name).parts or member.name.startswith(("/", "\\")):
            raise UserError(_refusal(archive, f"its member {member.name!r} leads out of the folder"))
        tarfile.data_filter(member, str(place))
        total += member.size
        if total > limit:
            raise UserError(_refusal(archive, f"it unpacks to more than {limit:,} bytes"))
        yield member


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, checksum: str, archive: Path) -> None:
    source = tar.extractfile(member)
    content = source.read() if source else b""
    found = md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise UserError(_refusal(archive, f"its {member.name} has md5 {found} instead of {checksum}"))
    write_whole(place / member.name, content)


def _refusal(archive: Path, why: str) -> str:
    return f"{archive}: refused, {why}. Delete it and run `kdbench data fetch` again."
