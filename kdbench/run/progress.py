"""What a person sees while runs are trained: bars on a terminal, plain lines anywhere else."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import click

from kdbench.formatting import plural
from kdbench.grouping import grouped
from kdbench.spec.events import Blocked, Done, Failed, RunEvent, Update
from kdbench.spec.results import Failure
from kdbench.spec.runs import Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID
    from rich.table import Table
    from rich.text import Text

MARGIN = 4
"""Columns left free at the right. A terminal writes ^C behind the last line; if that is full, a new line
begins, all are drawn again one line too low, and the first stays twice."""

LONGEST_BAR = 16
SHORTEST_BAR = 4
SHORTEST_NAME = 12


class Viewer(Protocol):
    """Something that is called with each event."""

    def show(self, event: RunEvent) -> None:
        """An event has happened."""


def follow(events: Iterable[RunEvent], viewer: Viewer) -> dict[str, Failure | None]:
    """Show events until they end.

    Returns:
        By run: why it failed; None of one that is blocked, as its teacher failed.
    """
    failed: dict[str, Failure | None] = {}
    for event in events:
        viewer.show(event)
        if isinstance(event, Failed | Blocked):
            failed[event.id] = event.failure if isinstance(event, Failed) else None
    return failed


@contextmanager
def viewer(runs: Iterable[Run], workers: Callable[[], int] | None = None) -> Iterator[Viewer]:
    """The view that fits where standard error goes.

    Args:
        runs: those that events will come of.
        workers: how many processes have been started here by now; a terminal says so until the first event.
    """
    from rich.console import Console

    console = Console(stderr=True)
    named = {run.id: run for run in runs}
    if not console.is_terminal:
        yield Lines(named)
        return
    bars = Bars(named, console, workers)
    with bars.live:
        yield bars


class Lines:
    """A line per run, and one a minute of those under way."""

    def __init__(self, runs: dict[str, Run]) -> None:
        self.runs, self.titles, self.over, self.last_line = runs, titles(runs), 0, monotonic()

    def show(self, event: RunEvent) -> None:
        """Print what is worth a line."""
        run = self.runs[event.id]
        if isinstance(event, Update):
            if monotonic() - self.last_line > 60:
                self.last_line = monotonic()
                click.echo(f"        {self.titles[run.id]}: {_now(event, run.recipe.epochs)}", err=True)
            return
        self.over += 1
        click.echo(f"[{self.over}/{len(self.runs)}] {self.titles[run.id]}: {ending(event)}", err=True)


class Bars:
    """A bar for the whole, and one per run under way: epoch, accuracy, speed, time left."""

    def __init__(
        self, runs: dict[str, Run], console: "Console", workers: Callable[[], int] | None = None
    ) -> None:
        from rich.live import Live
        from rich.progress import Progress, TimeRemainingColumn

        self.runs, self.titles, self.console, self.workers = runs, titles(runs), console, workers
        self.left = TimeRemainingColumn()
        self.bars = Progress(console=console)  # never started: it counts, and estimates what is left
        self.whole = self.bars.add_task(
            "all runs", total=sum(run.recipe.epochs for run in runs.values()), now=""
        )
        self.done: dict[str, int] = dict.fromkeys(runs, 0)
        self.tasks: dict[str, TaskID] = {}
        self.over = 0
        self.live = Live(get_renderable=self.render, console=console, refresh_per_second=10)

    def show(self, event: RunEvent) -> None:
        """Move the bars; what is over leaves a line above them."""
        self.workers = None
        run = self.runs[event.id]
        if isinstance(event, Update):
            self._move(run, event)
        else:
            self._end(run, event)
        left = f"{self.over} of {len(self.runs)} runs"
        self.bars.update(self.whole, completed=sum(self.done.values()), now=left)

    def _move(self, run: Run, event: Update) -> None:
        if event.id not in self.tasks:
            self.tasks[event.id] = self.bars.add_task(self.titles[event.id], total=run.recipe.epochs, now="")
        self.done[event.id] = event.epoch
        self.bars.update(self.tasks[event.id], completed=event.epoch, now=_now(event, run.recipe.epochs))

    def _end(self, run: Run, event: Done | Failed | Blocked) -> None:
        self.over += 1
        self.done[event.id] = run.recipe.epochs
        if event.id in self.tasks:
            self.bars.remove_task(self.tasks.pop(event.id))
        self.console.print(f"{self.titles[run.id]}: {ending(event)}", highlight=False, markup=False)

    def render(self) -> "Text | Table":
        """What is on the terminal now, narrower than it by `MARGIN`.

        Where a line is too long the bars go first, then the middle of the names, then the end of
        "epoch 3/9, ..."; time left is never cut.
        """
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        room = self.console.width - MARGIN
        workers = self.workers  # the first event may set it to None at any moment, in the main thread
        if workers is not None:
            starting = plural(workers(), "worker") if workers() else "workers"
            return Text(f"starting {starting}, importing torch", no_wrap=True, overflow="ellipsis")
        rows = [(task, str(task.fields["now"]), self.left.render(task)) for task in self.bars.tasks]
        names = max(len(task.description) for task, _, _ in rows)
        left = max(text.cell_len for _, _, text in rows)
        now = min(max(len(text) for _, text, _ in rows), max(1, room - left - SHORTEST_NAME - 2))
        names = min(names, max(1, room - now - left - 2))
        bar = min(LONGEST_BAR, room - names - now - left - 3)

        table = Table.grid(padding=(0, 1))
        for width in (names, bar, now, left) if bar >= SHORTEST_BAR else (names, now, left):
            table.add_column(width=width, no_wrap=True, overflow="ellipsis")
        for task, doing, time in rows:
            name, what = Text(shortened(task.description, names)), Text(doing)
            if bar >= SHORTEST_BAR:
                table.add_row(name, ProgressBar(task.total, task.completed, width=bar), what, time)
            else:
                table.add_row(name, what, time)
        return table


def shortened(name: str, width: int) -> str:
    """A name of at most `width` characters, without its middle: "mlp_784…out seed 0"."""
    if len(name) <= width:
        return name
    tail = width // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def titles(runs: Mapping[str, Run]) -> dict[str, str]:
    """How runs are called on a line, by id: `mlp-kd-cnn (tau 2) seed 0` beside another that has tau 3.

    Runs of one name and seed are told apart by their own settings, or else by their teachers' too.
    """
    alike = grouped(((run.slug, run.seed), run) for run in runs.values())
    found = {}
    for (slug, seed), some in alike.items():
        settings = _differing([_settings(run) for run in some])
        if len({*map(str, settings)}) < len(some):
            settings = _differing([_settings(run) | _teachers_settings(run) for run in some])
        for run, differing in zip(some, settings, strict=True):
            named = ", ".join(
                f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in differing.items()
            )
            found[run.id] = f"{slug} ({named}) seed {seed}" if named else f"{slug} seed {seed}"
    return found


def _differing(settings: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Of several settings those that are not the same in all, by name."""
    shared = set.intersection(*(set(each.items()) for each in settings))
    return [dict(sorted(each.items() - shared)) for each in settings]


def _settings(run: Run) -> dict[str, object]:
    """What a run's name leaves out, by name; nothing that is off."""
    return {"dataset": run.dataset, "precision": run.precision, **run.recipe.identity, **run.loss.params}


def _teachers_settings(run: Run) -> dict[str, object]:
    """Those of its teacher, and which of the teacher's epochs teaches."""
    if run.teacher is None:
        return {}
    of = {f"teacher's {name}": value for name, value in _settings(run.teacher.run).items()}
    return {"teacher's epoch": run.teacher.epoch, **of}


def ending(event: Done | Failed | Blocked) -> str:
    """How a run ended, in a line."""
    if isinstance(event, Blocked):
        return f"blocked: its teacher {event.teacher} failed"
    if isinstance(event, Failed):
        return f"FAILED: {event.failure.why}"
    result = event.result
    how = f"{result.seconds:.0f} s" if event.trained else "trained by another process meanwhile"
    return f"top1 {result.last:.2f} (best {result.best:.2f}), {how}"


def _now(event: Update, epochs: int) -> str:
    return f"epoch {event.epoch}/{epochs}, top1 {event.top1:.2f}, {event.images_per_second:,.0f} images/s"
