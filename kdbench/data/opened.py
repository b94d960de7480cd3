"""The data sets that a process has open; they stay open from run to run."""

from typing import Any

from kdbench.data.generated import generated, is_generated
from kdbench.data.packed import Dataset, open_dataset
from kdbench.data.place import fetcher_of
from kdbench.machine import Machine
from kdbench.spec.runs import Run

GENERATED = 4
"""Generated data sets that stay open: a run's, its teacher's, and those of the runs before."""


class OpenDatasets:
    """The data sets of a machine, each opened when it is first asked for."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.stored: dict[str, Dataset] = {}
        """Those that lie on the disk, by name."""
        self.seeded: dict[tuple[str, int], Dataset] = {}
        """Those that are functions of a seed, by name and seed."""

    def named(self, name: str) -> Dataset:
        """A data set that lies on the disk, fetched and packed if it must be and may be.

        Raises:
            UserError: it cannot be had.
        """
        if name not in self.stored:
            self.stored[name] = open_dataset(name, fetcher_of(self.machine))
        return self.stored[name]

    def of(self, run: Run) -> Dataset:
        """The data set of a run: one that is generated, for its seed.

        Raises:
            UserError: it cannot be had.
        """
        if not is_generated(run.dataset):
            return self.named(run.dataset)
        key = run.dataset, run.seed
        if key not in self.seeded:
            make_room(self.seeded, GENERATED)  # a cohort of 100 seeds has 100, and their teachers' too
            self.seeded[key] = generated(run.dataset, run.seed)
        return self.seeded[key]


def make_room(kept: dict[Any, Any], most: int) -> None:
    """Let go of the oldest of what is kept, so that with one more there are not more than `most`.

    A dict is in the order in which it was filled.
    """
    while len(kept) >= most:
        del kept[next(iter(kept))]
