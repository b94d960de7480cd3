"""A run on a disk that syncs slowly, as over a network: its checkpoints beside the training, and waited for.

    python tests/bench/slow_disk.py [--sync SECONDS...] [--rounds N]

Each sync takes so much longer. `digits_cnn` for some epochs with a checkpoint after each one, wall seconds:
both ways take turns, round by round, and medians are compared.
"""

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
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
from kdbench.training.checkpoint import Writer
from kdbench.training.context import TrainingContext
from kdbench.training.task import do
from tests.support.training import digits, open_digits

T = TypeVar("T")
RUN = digits("digits_cnn", epochs=8, train_size=1200, test_size=500)


class Waiting(Writer):
    """Writes while its caller waits."""

    def start(self, write: Callable[[], T]) -> Future[T]:
        """Start a write, and wait for its end."""
        started = super().start(write)
        self.wait()
        return started


def seconds_of(context: TrainingContext, writer: Writer, seed: int, sync: float) -> float:
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
        do([Task(replace(RUN, seed=seed))], context, events.append)
        seconds = perf_counter() - started
    if not any(isinstance(event, Done) for event in events):
        raise RuntimeError(str(events[-1]))
    return seconds


def main() -> None:
    """Measure both ways for each delay."""
    parser = argparse.ArgumentParser(description="checkpoints on a disk that syncs slowly")
    parser.add_argument("--sync", type=float, nargs="+", default=[0.0, 0.05, 0.5], metavar="SECONDS")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        context = open_digits(Path(folder))
        seconds_of(context, Writer(), 0, 0.0)  # packs the data
        seed = 0
        for sync in asked.sync:
            waiting, beside = [], []
            for _ in range(asked.rounds):
                seed += 1
                waiting.append(seconds_of(context, Waiting(), 2 * seed, sync))
                beside.append(seconds_of(context, Writer(), 2 * seed + 1, sync))
            print(f"sync + {sync} s: {median(waiting):.2f} s waited for, {median(beside):.2f} s beside")  # noqa: T201


if __name__ == "__main__":
    main()
