"""How far a download is: a bar on a terminal, a line for each tenth otherwise, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all; 0 where unknown)."""


def silent(_done: int, _total: int) -> None:
    """Report nothing."""


@contextmanager
def reporting(what: str, *, wanted: bool) -> Iterator[Report]:
    """A report on a transfer that lasts as long as the block."""
    if not wanted:
        yield silent
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(what, console) as report:
            yield report
    else:
        yield _lines(what, lambda line: console.print(line, soft_wrap=True, highlight=False))


@contextmanager
def _bar(what: str, console: "Console") -> Iterator[Report]:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _lines(what: str, write: Callable[[str], None]) -> Report:
    tenths = -1

    def report(done: int, total: int) -> None:
        nonlocal tenths
        tenth = 10 * done // total if total else done // 10**7
        if tenth > tenths:
            tenths = tenth
            of = f" of {total / 1e6:.1f}" if total else ""
            write(f"{what}: {done / 1e6:.1f}{of} MB")

    return report
