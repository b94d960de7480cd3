"""One record in one JSON file: indented, so that git shows what changed; written whole or not at all."""

from pathlib import Path
from typing import TypeVar

import msgspec

from kdbench.errors import UserError, git_hint
from kdbench.store.records import BROKEN, write

T = TypeVar("T")


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
    try:
        return msgspec.json.decode(content, type=kind)
    except BROKEN as error:
        raise UserError(f"{path}: no valid {what}: {git_hint(content) or f'{error}; {hint}'}") from error


def load_folder(folder: Path, kind: type[T], *, what: str, hint: str) -> dict[Path, T]:
    """Every record of a folder (`*.json`), by its file, in the order of names; none where there is no folder.

    Raises:
        UserError: files are broken; all of them at once.
    """
    found: dict[Path, T] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found[path] = load_json(path, kind, what=what, hint=hint)
        except FileNotFoundError:
            continue  # another process removed it just now
        except UserError as error:
            problems.extend(error.problems)
    if problems:
        raise UserError(*problems)
    return found
