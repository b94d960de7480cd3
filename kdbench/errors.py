"""Errors that are no fault of kdbench: shown as one message, without a traceback."""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
V = TypeVar("V")

_PASSWORD = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@")


def without_passwords(text: str) -> str:
    """Text without the user and password of an address: `https://***@mirror.example/cifar.tar.gz`."""
    return _PASSWORD.sub("***@", text) if "@" in text else text


def plain(text: str) -> str:
    """Text for a terminal or a record: without passwords, and without what would move a terminal's cursor."""
    text = without_passwords(text)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else "?" for sign in text)


class UserError(Exception):
    """Bad input: file, place, what came, what is valid. The command line exits with 2.

    `problems` holds one sentence for each mistake, all of a file's at once.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(map(without_passwords, problems))
        super().__init__("\n".join(self.problems))


def each_of(function: Callable[[V], T], values: Iterable[V]) -> list[T]:
    """What a function returns for each value; the mistakes of all of them come at once.

    Raises:
        UserError: the function raised it for some; each sentence stands in it once.
    """
    found: list[T] = []
    problems: dict[str, None] = {}
    for value in values:
        try:
            found.append(function(value))
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise UserError(*problems)
    return found


def require(name: str, value: object, kind: type | tuple[type, ...], meant: str) -> None:
    """Refuse an argument that somebody has given from Python and that is no such thing.

    Raises:
        UserError: `suite = 'quickstart': expected a suite from kdbench.load_suite`.
    """
    if not isinstance(value, kind):
        raise UserError(f"{name} = {value!r:.80}: expected {meant}")


def require_all(name: str, values: object, kind: type[T], meant: str) -> list[T]:
    """The values of an argument that is several of a kind.

    Raises:
        UserError: as `require`; also on one value where several are meant.
    """
    found: list[T] = list(values) if isinstance(values, Iterable) else []
    if not isinstance(values, Iterable) or not all(isinstance(value, kind) for value in found):
        raise UserError(f"{name} = {values!r:.80}: expected {meant}")
    return found


class PluginWarning(UserWarning):
    """Something to know about an installed package; the command line prints it as a note."""


class DivergedError(Exception):
    """The loss became NaN or infinite: the run fails, others go on."""


class DiedError(Exception):
    """Another of the processes that train a run together is gone."""


OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""What torch says when memory runs out: on a CPU it has no error of its own for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is for want of memory, which fewer runs beside each other would not need."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


class StoppedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the same end as Ctrl-C's, with the signal's own exit code."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def git_hint(content: bytes) -> str:
    """What to do about a file that git has left unfinished, as a part of a sentence; "" of any other file."""
    if content.startswith(b"version https://git-lfs.github.com/spec/"):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the file itself"
    if content.startswith(b"<<<<<<< ") or b"\n<<<<<<< " in content:
        return "it has git's conflict markers; choose a side with `git checkout --ours` or `--theirs`"
    return ""
