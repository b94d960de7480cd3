"""What a run costs beside its steps, in a worker that is open: CPU seconds, and syncs of the disk.

    python tests/bench/fixed.py [NAME...] [--rounds N]

A run of one epoch, of which one image is trained on and one is tested: network, views of the whole data set,
checkpoint, weights, predictions and record, and that one step. Needs the data, in KDBENCH_DATA.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from unittest.mock import patch

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT))

from msgspec.structs import replace

from kdbench.machine import Data, Local, Machine
from kdbench.plan.expand import expand
from kdbench.spec.events import Done, Event, Task
from kdbench.spec.runs import Run
from kdbench.suite.load import load_suite

BARS = {
    "digits_mlp": ("quickstart", "baseline/digits_mlp", 0.1),
    "digits_cnn": ("quickstart", "baseline/digits_cnn", 0.1),
    "digits_kd": ("quickstart", "kd/digits_mlp:digits_cnn", 0.1),
    "shufflenetv2": ("tfkd_cifar100", "1.baseline/shufflenetv2", 0.3),
}
"""By name: a suite, its row, and the CPU seconds that a run may cost beside its steps."""
SETTINGS = {"epochs": 1, "milestones": [], "test_size": 1}


def runs_of(name: str) -> Iterator[Run]:
    """Runs of a row that differ in their seed; with their one teacher before them."""
    suite, row, _ = BARS[name]
    loaded = load_suite(ROOT / "suites" / f"{suite}.toml")
    (cell,) = expand(loaded, rows=row, seeds=[0], settings=SETTINGS)
    (first,) = cell.runs
    if first.teacher is None:
        yield from (replace(first, seed=seed) for seed in range(1000))
        return
    yield first.teacher.run
    for number in range(1000):
        params = {**first.loss.params, "tau": 4.0 + number}
        yield replace(first, loss=replace(first.loss, params=params))


@contextmanager
def one_image_an_epoch() -> Iterator[None]:
    """Of an epoch's views, the first image of the first batch."""
    from kdbench.data.views import Batch, Views

    epoch = Views.epoch

    def first(views: Views, number: int) -> Iterator[Batch]:
        x, y, index = next(epoch(views, number))
        yield x[:1], y[:1], index[:1]

    with patch.object(Views, "epoch", first):
        yield


def fixed_costs(name: str, rounds: int, folder: Path) -> list[float]:
    """The CPU seconds of each of so many runs, after two that warm up.

    Raises:
        RuntimeError: a run fails.
    """
    from kdbench.training.context import open_context
    from kdbench.training.task import do

    data = Data(folder=os.environ.get("KDBENCH_DATA", ""))
    context = open_context(Machine(root=str(folder), local=Local(device="cpu", workers=1), data=data))
    found = []
    with one_image_an_epoch():
        for _, run in zip(range(rounds + 2), runs_of(name), strict=False):
            events: list[Event] = []
            started = process_time()
            do([Task(run, ("best", 1))], context, events.append)
            found.append(process_time() - started)
            if not [event for event in events if isinstance(event, Done)]:
                raise RuntimeError(str(events[-1]))
    return found[2:]


def main() -> int:
    """Measure the networks that are named, else all; 1 where one is above its bar."""
    parser = argparse.ArgumentParser(description="what a run costs beside its steps")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BARS))
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    missed = 0
    for name in asked.names or BARS:
        with TemporaryDirectory() as folder:
            seconds = median(fixed_costs(name, asked.rounds, Path(folder)))
        print(f"{name}: {1000 * seconds:.0f} ms, bar {1000 * BARS[name][2]:.0f} ms", flush=True)  # noqa: T201
        missed += seconds > BARS[name][2]
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
