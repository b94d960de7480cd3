"""Files that a person names: what is there keeps its kind, its mode, its owner and its line endings."""

from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from shutil import rmtree

from kdbench.errors import UserError
from kdbench.store.files import write


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a person named.

    A link is followed: what it points to is replaced, and the link stays. A device or a pipe is written in
    place, since a file renamed onto it would remove it. A file keeps its mode, and its owner if this user may
    give it that.

    Raises:
        UserError: it cannot be written.
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        before = target.stat() if target.exists() else None
        if before is not None and not target.is_file():
            with target.open("wb") as place:
                place.write(content)
            return
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    write(target, content, like=before)


MARKER = ".kdbench-site"
"""Lies in a folder that kdbench wrote as a whole, and lists its files: what it may replace."""


def check_replaceable(folder: Path) -> None:
    """See that a folder may be written as a whole: it is new, empty, or holds what was written so before.

    Raises:
        UserError: it is something else, or holds what kdbench did not write.
    """
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        listed = set((folder / MARKER).read_text(encoding="utf-8").splitlines())
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"{folder}: is there and was not written by kdbench as a whole (it has no {MARKER}); "
            f"give another folder, or remove it yourself"
        ) from None
    if strange := sorted(there - listed - {MARKER}):
        raise UserError(
            f"{folder}: holds {strange[0]}, which kdbench did not write and would delete; "
            f"move it, or give another folder"
        )


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a whole folder or nothing: under another name first, then in the place of the former one.

    Args:
        folder: that a person named; a link is followed.
        files: by their paths below it.

    Raises:
        UserError: it may not be replaced (`check_replaceable`), or cannot be written.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    unfinished, former = (folder.with_name(f".{folder.name}.{token_hex(4)}.{end}") for end in ("part", "old"))
    try:
        for name, content in {**files, MARKER: "\n".join([*sorted(files), ""]).encode()}.items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        # Two renames, as none replaces a folder that is not empty; if the second fails the first is undone.
        replaced = folder.exists()
        if replaced:
            folder.rename(former)
        unfinished.rename(folder)
    except OSError as error:
        if former.exists() and not folder.exists():
            former.rename(folder)
        rmtree(unfinished, ignore_errors=True)
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
    if replaced:
        rmtree(former)


def remove_written(folder: Path) -> None:
    """Remove what `write_folder` wrote; a folder that it did not write, and any other file in it, stays.

    Raises:
        UserError: it cannot be removed.
    """
    try:
        if not (folder / MARKER).is_file():
            return
        listed = {MARKER, *(folder / MARKER).read_text(encoding="utf-8").splitlines()}
        places = sorted(folder.rglob("*"), reverse=True)  # what is in a folder comes before the folder
        for path in places:
            if path.relative_to(folder).as_posix() in listed and not path.is_dir():
                path.unlink()
        for path in (*filter(Path.is_dir, places), folder):
            if not any(path.iterdir()):
                path.rmdir()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{folder}: cannot be removed: {getattr(error, 'strerror', None) or error}"
        ) from error


def read_text(path: Path) -> str:
    """The text of a file with its line endings as they are; a byte order mark stays its first character.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from error
