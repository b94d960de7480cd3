"""What the kernel knows of processes."""

from pathlib import Path


def children(pid: int | None) -> list[int]:
    """The processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
