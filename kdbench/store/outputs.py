"""Files that a person names: what is there keeps its kind, its mode, its owner and its line endings."""

from pathlib import Path

from kdbench.errors import UserError
from kdbench.store.records import write


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
