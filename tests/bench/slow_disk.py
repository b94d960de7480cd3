"""A run on a disk that syncs slowly, as over a network: its checkpoints beside the training, and waited for.

    python tests/bench/slow_disk.py [--student NAME] [--epochs N] [--sync SECONDS...] [--rounds N]

Each sync takes so much longer. A network learns the digits for some epochs, with a checkpoint after each one;
wall seconds: both ways take turns, round by round, and medians are compared.
"""

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import TypeVar
from unittest.mock import patch

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT))

from msgspec.structs import replace

from kdbench.spec.events import Done, Event, Task
from kdbench.spec.runs import Run
from kdbench.training.checkpoint import Writer
from kdbench.training.context import TrainingContext
from kdbench.training.task import do
from tests.support.training import digits, open_digits

T = TypeVar("T")


class Waiting(Writer):
    """Writes while its caller waits."""

    def start(self, write: Callable[[], T]) -> Future[T]:
        """Start a write, and wait for its end."""
        started = super().start(write)
        self.wait()
        return started


def seconds_of(context: TrainingContext, run: Run, writer: Writer, sync: float) -> float:
    """The wall seconds of a run, where each sync takes so many more of them.

    Raises:
        RuntimeError: it fails.
    """
    fsync = os.fsync

    def slow(file: int) -> None:
        fsync(file)
        sleep(sync)

    context.writer = writer
    events: list[Event] = []
    with patch.object(os, "fsync", slow):
        started = perf_counter()
        do([Task(run)], context, events.append)
        seconds = perf_counter() - started
    if not any(isinstance(event, Done) for event in events):
        raise RuntimeError(str(events[-1]))
    return seconds


def main() -> None:
    """Measure both ways for each delay."""
    parser = argparse.ArgumentParser(description="checkpoints on a disk that syncs slowly")
    parser.add_argument("--sync", type=float, nargs="+", default=[0.0, 0.05, 0.5], metavar="SECONDS")
    parser.add_argument("--student", default="digits_cnn")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    run = digits(asked.student, epochs=asked.epochs, train_size=1200, test_size=500)
    seeds = count(1)
    with TemporaryDirectory() as folder:
        context = open_digits(Path(folder))
        seconds_of(context, run, Writer(), 0.0)  # packs the data
        for sync in asked.sync:
            found: dict[type[Writer], list[float]] = {Waiting: [], Writer: []}
            for _ in range(asked.rounds):
                for kind, seconds in found.items():
                    seconds.append(seconds_of(context, replace(run, seed=next(seeds)), kind(), sync))
            waiting, beside = map(median, found.values())
            print(f"sync + {sync} s: {waiting:.2f} s waited for, {beside:.2f} s beside")  # noqa: T201


if __name__ == "__main__":
    main()
