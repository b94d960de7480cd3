"""The runs that this process trains now: it has their leases, and checks them before it writes anything."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kdbench.store.lease import Lease, Watch, take
from kdbench.store.mounts import MountGuard, retry_until_mounted

T = TypeVar("T")


class RunLeases:
    """The leases that this process has.

    Args:
        results: the folder of records.
        scratch: that of weights and checkpoints; its locks/ has the leases.
    """

    def __init__(self, results: Path, scratch: Path) -> None:
        self.results, self.scratch = results, scratch
        self.held: dict[str, Lease] = {}
        """By a run's id."""
        self._watch = Watch()
        """What was seen of the leases of other processes."""
        self._folders: list[MountGuard] = []
        """Results and scratch, as they were found before the first run."""

    @contextmanager
    def hold(self, run: str) -> Iterator[bool]:
        """Hold the run of this id while the block lasts; False where another process has it.

        Raises:
            UserError: results or scratch cannot be written.
        """
        if not self._folders:
            self._folders = [MountGuard(self.results), MountGuard(self.scratch)]
        lease = take(self.scratch / "locks" / run, self._watch)
        if lease is None:
            yield False
            return
        with lease:
            self.held[run] = lease
            try:
                yield True
            finally:
                del self.held[run]

    def write(self, run: str, write: Callable[[], T]) -> T:
        """Let a run write something, once its folders are there and unless it was taken over.

        Raises:
            LostError: another process trains it now.
            UserError: it cannot be written.
        """

        def checked() -> T:
            if run in self.held:
                self.held[run].check()
            return write()

        return retry_until_mounted(checked, self._folders)
