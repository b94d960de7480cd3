"""What the kernel knows of processes, and the end of the server that workers are forks of."""

from multiprocessing import forkserver
from pathlib import Path

from kdbench.workers import process


def forget_server() -> None:
    """End the server: the next one imports what it is told then, in the environment of then."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - as Python's own tests do
    process._server_environment.clear()  # noqa: SLF001 - of a driver it never changes


def parent_of(pid: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[1])


def children(pid: int | None) -> list[int]:
    """The processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def descendants(pid: int | None) -> list[int]:
    """The processes that it started, those that they started, and so on."""
    found = children(pid)
    for child in found:  # which grows meanwhile
        found += children(child)
    return found
