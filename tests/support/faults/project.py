"""Small runs on the digits for the fault tests: in this process, or by a real `kdbench run`."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kdbench import catalog
from kdbench.spec.events import Done, Event, Failed, Task, Update
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.training.context import TrainingContext
from kdbench.training.task import do
from tests.support.build import CE, make_run
from tests.support.places import ROOT

RECIPE = Recipe(epochs=4, batch_size=32, lr=0.05, momentum=0.9, train_size=64, test_size=64)


def digits(loss: Loss = CE, teacher: Teacher | None = None, **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    """A run of four epochs."""
    run = replace(make_run("digits_mlp", 0, loss), dataset="digits", data=catalog.DATASETS["digits"].digest)
    return replace(run, recipe=replace(RECIPE, **settings), teacher=teacher)


def events(context: TrainingContext, run: Run, look: Callable[[Event], None] = lambda _: None) -> list[Event]:
    """All events of a run; `look` may make a fault happen, when the epoch's checkpoint is written."""
    emitted: list[Event] = []

    def emit(event: Event) -> None:
        emitted.append(event)
        context.writer.wait()
        look(event)

    do([Task(run)], context, emit)
    return emitted


def epochs(emitted: Sequence[Event]) -> list[int]:
    """The epochs that were trained."""
    return [event.epoch for event in emitted if isinstance(event, Update)]


def failure(emitted: Sequence[Event]) -> Failed:
    """How a run ended, which failed."""
    assert isinstance(emitted[-1], Failed), emitted
    return emitted[-1]


def numbers(emitted: Sequence[Event]) -> tuple[object, ...]:
    """All of a result that must not depend on what happened on the way."""
    assert isinstance(emitted[-1], Done), emitted
    result = emitted[-1].result
    return result.curve.top1, result.curve.test_loss, result.curve.train_loss, result.weights


SUITE = """
[suite]
paper = "A paper"
dataset = "digits"
seeds = {seeds}
[tolerance]
top1 = 1
gain = 1
[recipe]
epochs = {epochs}
batch_size = 32
lr = 0.1
train_size = 200
[[table]]
id = "1"
loss = {{ name = "ce" }}
rows = [{{ student = "digits_cnn" }}]
"""
# A shell that starts something in the background lets it ignore signals, and its children inherit that.
COMMAND = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
from kdbench.cli import main
main()
"""


def make_suite(folder: Path, *, seeds: int = 1, epochs: int = 60) -> None:
    """A suite of a single row, and a benchmark.toml."""
    (folder / "suite.toml").write_text(SUITE.format(seeds=seeds, epochs=epochs), encoding="utf-8")
    (folder / "benchmark.toml").write_text(
        "[local]\ndevice = 'cpu'\ncheckpoint_seconds = 0\n[data]\noffline = true\n", encoding="utf-8"
    )


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`kdbench run suite` in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "run", "suite", "--jobs", "1", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Until something is so, as long as the process lives; machines are busy."""
    deadline = time.monotonic() + 180
    while not what():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "not within three minutes"
        time.sleep(0.02)
