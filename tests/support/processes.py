"""What the kernel knows of processes."""

from pathlib import Path


def children(pid: int | None) -> list[int]:
    """The processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def descendants(pid: int | None) -> list[int]:
    """The processes that it started, those that they started, and so on."""
    found = children(pid)
    for child in found:  # which grows meanwhile
        found += children(child)
    return found
