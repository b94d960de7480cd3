"""One record in one JSON file: indented, so that git shows what changed; written whole or not at all."""

from pathlib import Path
from typing import TypeVar

import msgspec

from kdbench.errors import UserError, each_of, git_hint
from kdbench.store.files import write

T = TypeVar("T")
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises on content that is no record."""


class _Schema(msgspec.Struct):
    schema: int


def as_json(record: object) -> bytes:
    """A record as it lies on disk."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def save_json(path: Path, record: object) -> None:
    """Write a record, instead of one that is there.

    Raises:
        UserError: the folder cannot be written.
    """
    write(path, as_json(record))


def load_json(path: Path, kind: type[T], *, what: str, hint: str) -> T:
    """Read a record.

    Args:
        path: its file.
        kind: its class.
        what: what it is, for the error: `no valid WHAT`.
        hint: what to do about a broken one.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read, or is broken.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: no valid {what}: {error}; {hint}") from error
    return decoded(path, content, kind, what=what, hint=hint)


def load_folder(folder: Path, kind: type[T], *, what: str, hint: str) -> dict[Path, T]:
    """Every record of a folder (`*.json`), by its file, in the order of names; none where there is no folder.

    Raises:
        UserError: files are broken; all of them at once.
    """

    def loaded(path: Path) -> tuple[Path, T] | None:
        try:
            return path, load_json(path, kind, what=what, hint=hint)
        except FileNotFoundError:  # another process removed it just now
            return None

    return dict(filter(None, each_of(loaded, sorted(folder.glob("*.json")))))


def decoded(path: Path, content: bytes, kind: type[T], *, what: str, hint: str) -> T:
    """The record of this class that is a file's content.

    Raises:
        UserError: `no valid WHAT`, why, and what to do: what git left unfinished says so itself, else `hint`.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except BROKEN as error:
        raise UserError(f"{path}: no valid {what}: {git_hint(content) or f'{error}; {hint}'}") from error


def schema_of(content: bytes, broken: int) -> int:
    """The schema that a record states; `broken` where it states none that can be read."""
    try:
        return msgspec.json.decode(content, type=_Schema).schema
    except BROKEN:
        return broken
