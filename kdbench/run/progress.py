"""What a person sees while runs are trained: bars on a terminal, plain lines anywhere else."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from kdbench.spec.events import Blocked, Done, Failed, RunEvent, Update
from kdbench.spec.runs import Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Viewer(Protocol):
    """Something that is called with each event."""

    def show(self, event: RunEvent) -> None:
        """An event has happened."""


def follow(events: Iterable[RunEvent], viewer: Viewer) -> tuple[int, int]:
    """Show events until they end.

    Returns:
        How many runs were trained, and how many failed or were blocked.
    """
    trained = failed = 0
    for event in events:
        viewer.show(event)
        trained += isinstance(event, Done)
        failed += isinstance(event, Failed | Blocked)
    return trained, failed


@contextmanager
def viewer(runs: Iterable[Run]) -> Iterator[Viewer]:
    """The view that fits where standard error goes."""
    from rich.console import Console

    console = Console(stderr=True)
    named = {run.id: run for run in runs}
    if not console.is_terminal:
        yield Lines(named)
        return
    with _bars(console) as bars:
        yield Bars(named, bars)


class Lines:
    """A line per run, and one a minute of those under way."""

    def __init__(self, runs: dict[str, Run]) -> None:
        self.runs, self.over, self.last_line = runs, 0, monotonic()

    def show(self, event: RunEvent) -> None:
        """Print what is worth a line."""
        import click

        run = self.runs[event.id]
        if isinstance(event, Update):
            if monotonic() - self.last_line > 60:
                self.last_line = monotonic()
                click.echo(f"        {title(run)}: {_now(event, run.recipe.epochs)}", err=True)
            return
        self.over += 1
        click.echo(f"[{self.over}/{len(self.runs)}] {title(run)}: {ending(event)}", err=True)


class Bars:
    """A bar for the whole, and one per run under way: epoch, accuracy, speed, time left."""

    def __init__(self, runs: dict[str, Run], bars: "Progress") -> None:
        self.runs, self.bars = runs, bars
        self.whole = bars.add_task("all runs", total=sum(run.recipe.epochs for run in runs.values()), now="")
        self.done: dict[str, int] = dict.fromkeys(runs, 0)
        self.tasks: dict[str, TaskID] = {}
        self.over = 0

    def show(self, event: RunEvent) -> None:
        """Move the bars; what is over leaves a line above them."""
        run = self.runs[event.id]
        if isinstance(event, Update):
            self._move(run, event)
        else:
            self._end(run, event)
        left = f"{self.over} of {len(self.runs)} runs"
        self.bars.update(self.whole, completed=sum(self.done.values()), now=left)

    def _move(self, run: Run, event: Update) -> None:
        if event.id not in self.tasks:
            self.tasks[event.id] = self.bars.add_task(title(run), total=run.recipe.epochs, now="")
        self.done[event.id] = event.epoch
        self.bars.update(self.tasks[event.id], completed=event.epoch, now=_now(event, run.recipe.epochs))

    def _end(self, run: Run, event: Done | Failed | Blocked) -> None:
        self.over += 1
        self.done[event.id] = run.recipe.epochs
        if event.id in self.tasks:
            self.bars.remove_task(self.tasks.pop(event.id))
        self.bars.console.print(f"{title(run)}: {ending(event)}", highlight=False, markup=False)


def _bars(console: "Console") -> "Progress":
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=16),
        progress.TextColumn("{task.fields[now]}", markup=False),
        progress.TimeRemainingColumn(),
        console=console,
    )


def title(run: Run) -> str:
    """How a run is called on a line."""
    return f"{run.slug} seed {run.seed}"


def ending(event: Done | Failed | Blocked) -> str:
    """How a run ended, in a line."""
    if isinstance(event, Blocked):
        return f"blocked: its teacher {event.teacher} failed"
    if isinstance(event, Failed):
        where = f" ({event.failure.log})" if event.failure.log else ""
        return f"FAILED: {event.failure.cause}{where}"
    result = event.result
    how = f"{result.seconds:.0f} s" if event.trained else "trained by another process meanwhile"
    return f"top1 {result.last:.2f} (best {result.best:.2f}), {how}"


def _now(event: Update, epochs: int) -> str:
    return f"epoch {event.epoch}/{epochs}, top1 {event.top1:.2f}, {event.images_per_second:,.0f} images/s"
