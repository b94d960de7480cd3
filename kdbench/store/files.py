"""Files that are written whole or not at all, and whose names may say what is in them.

Every file is written under another name, synced, and renamed.
"""

import errno
import os
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

from kdbench.errors import UserError


def write(
    path: Path,
    content: bytes,
    *,
    hint: str = "",
    fresh: bool = False,
    like: os.stat_result | None = None,
    durable: bool = True,
) -> bool:
    """Write a whole file or nothing: another name, sync, rename.

    Args:
        path: its folder is made if need be.
        content: the whole of it.
        hint: what to do where this cannot be written, for the error.
        fresh: leave a file of this name as it is.
        like: the mode and the owner that the file gets, those of the one that it replaces.
        durable: sync it, so that it outlives a loss of power. A file that seconds can make again, and whose
            name has its digest, needs not.

    Returns:
        Whether it was written: not so where a file had to be left.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    unfinished = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if like is not None:
            unfinished.chmod(like.st_mode & 0o7777)
            with suppress(PermissionError):  # another user's file in a folder of ours
                os.chown(unfinished, like.st_uid, like.st_gid)
        written = _rename(unfinished, path, fresh=fresh)
        if durable:
            _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        text = f"{path}: cannot be written: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = hint or "make room, and run it again: what is finished is kept"
        raise UserError(f"{text}; {hint}" if hint else text) from error
    return written


def _rename(unfinished: Path, path: Path, *, fresh: bool) -> bool:
    """Give a finished file its name, without replacing one where it is to be `fresh`; whether it got it."""
    if not fresh:
        unfinished.replace(path)
        return True
    try:
        path.hardlink_to(unfinished)  # unlike a rename, it never replaces a file
    except FileExistsError:
        unfinished.unlink()
        return False
    except OSError:  # a file system without hard links: there the run's lease alone guards it
        unfinished.replace(path)
        return True
    unfinished.unlink()
    return True


def _sync(folder: Path) -> None:
    """Make names last through a loss of power, where the file system knows how."""
    with suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def check_folder(folder: Path) -> None:
    """See that a folder is one, or is not there yet.

    Raises:
        UserError: it is something else.
    """
    if folder.exists() and not folder.is_dir():
        hint = "move it away, or name another under [folders] in benchmark.toml"
        raise UserError(f"{folder}: a file, where a folder is kept; {hint}")


def check_writable(folder: Path) -> None:
    """Find out before anything is trained.

    Raises:
        UserError: the folder cannot be made or written.
    """
    check_folder(folder)
    probe = folder / f".probe.{os.getpid()}"
    try:
        write(probe, b"", hint="make it writable, or name another under [folders] in benchmark.toml")
    except UserError as error:
        raise UserError(str(error).replace(str(probe), str(folder))) from error
    probe.unlink()


def is_whole(path: Path) -> bool:
    """Whether a file NAME.SHA256.KIND has the content that its name says."""
    return digest(path) == path.name.split(".")[1]


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def names_in(folder: Path) -> frozenset[str]:
    """The names in a folder; none where it is not there, or cannot be read.

    One look at a folder of what thousands of runs may have there, instead of a look for each.
    """
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - names will do
    except OSError:
        return frozenset()


def shown(path: Path) -> str:
    """A path as a person at this machine would write it: from the current folder where it lies inside."""
    whole = path.parent.resolve() / path.name  # a link by its own name
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else path)
