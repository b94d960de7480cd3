"""What the command line does with an error that no code expected: one line, and never a traceback."""

import errno
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from kdbench.errors import UserError, plain
from kdbench.version import __version__

HINTS = {
    errno.EACCES: "this user may not read or write it",
    errno.EPERM: "this user may not change it",
    errno.EISDIR: "a file is expected there",
    errno.ENOTDIR: "a folder is expected there",
    errno.EEXIST: "something else is in its place",
    errno.ENOSPC: "make room; what is finished is kept",
    errno.EDQUOT: "make room; what is finished is kept",
    errno.EROFS: "it cannot be written there",
    errno.ELOOP: "links point at each other",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk or the connection to it fails",
    errno.ESTALE: "the connection to its file server was lost",
}
"""What the operating system says of a place, and what it means: mistakes that are not kdbench's."""


def describe_place(error: OSError) -> str | None:
    """The sentence on an error of the operating system that is about a place; None of any other.

    `/data/cifar: Permission denied; this user may not read or write it`.
    """
    if error.errno == errno.ENOENT and error.filename is None and not _is_somewhere():
        return "the current folder: it was removed; go to one that is there"
    if error.errno not in HINTS:
        return None
    place = str(error.filename or "standard output")
    if os.path.islink(place) and not os.path.exists(place):  # noqa: PTH110, PTH114 - any string will do
        return f"{place}: a link to {os.readlink(place)}, which is not there"  # noqa: PTH115
    return f"{place}: {error.strerror}; {HINTS[error.errno]}"


def _is_somewhere() -> bool:
    """Whether the current folder still exists."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd is the same
    except FileNotFoundError:
        return False
    return True


def keep_traceback(error: BaseException) -> Path | None:
    """Write a traceback to a file: in the scratch folder, or where temporary files lie; None if nowhere."""
    head = f"kdbench {__version__}, Python {sys.version.split()[0]}, {sys.platform}\n{' '.join(sys.argv)}\n\n"
    lines = [plain(line) for line in "".join(traceback.format_exception(error)).splitlines()]
    content = head + "\n".join(lines) + "\n"
    name = f"{time.strftime('%Y%m%d-%H%M%S')}.{os.getpid()}.txt"
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text(content, encoding="utf-8")
        except OSError:
            continue
        return path
    return None


def _folders() -> list[Path]:
    from kdbench.machine import load_machine

    elsewhere = Path(tempfile.gettempdir()) / "kdbench-errors"
    try:
        return [load_machine().scratch / "errors", elsewhere]
    except (UserError, OSError):  # benchmark.toml may be what is wrong
        return [elsewhere]


def discard_output() -> None:
    """Write what is still to be printed to nowhere: standard output is full, and would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
