"""All trainings of a run that a results folder has, whichever version of kdbench made them."""

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from kdbench.errors import UserError
from kdbench.plan.plugin_runs import bare
from kdbench.spec.results import Result
from kdbench.spec.runs import Run
from kdbench.store.compact import folder_of
from kdbench.store.records import Index, load_result, sentence


def experiment(run: Run) -> str:
    """A run's id but for the versions of kdbench's arithmetic and of packages, so as to compare them."""
    return bare(run, protocol=0).id


def newest(results: Iterable[Result]) -> dict[str, Result]:
    """The results by `experiment`; of several versions of kdbench's arithmetic, the newest."""
    # Of equal keys a dict keeps the last: that of the newest protocol.
    ordered = sorted(results, key=lambda result: result.run.protocol)
    return {experiment(result.run): result for result in ordered}


class Key(NamedTuple):
    """Where the records of a run lie, whatever its id: results/DATASET/SLUG.sSEED.*."""

    dataset: str
    stem: str


class Trainings(Struct, frozen=True):
    """What was found of some runs."""

    results: list[Result]
    damaged: dict[Key, str]
    """What is wrong with a record that cannot be read."""


def load_trainings(there: Index, runs: Iterable[Run], *, repeats: bool) -> Trainings:
    """All results of these runs, whatever the version of kdbench's arithmetic that made them.

    Args:
        there: the folder's index.
        runs: which experiments.
        repeats: with further trainings of the same run.
    """
    # Names are cheap and say slug and seed, not the protocol: only records of such a name are opened.
    wanted = {experiment(run): run for run in runs}
    damaged = {key_of(run): problem for run in wanted.values() if (problem := there.lost(run))}
    keys = {key_of(run) for run in wanted.values()}
    paths = list(there.results.values())
    if repeats:
        paths += chain.from_iterable(there.repeats.values())
    results = []
    for path in paths:
        key = Key(folder_of(path).name, ".".join(path.name.split(".")[:2]))
        if key not in keys:
            continue
        try:
            result = load_result(path)
        except UserError as error:
            damaged[key] = sentence(error, path)
            continue
        if experiment(result.run) in wanted:
            results.append(result)
    return Trainings(results, damaged)


def key_of(run: Run) -> Key:
    """Where a run's records lie."""
    return Key(run.dataset, f"{run.slug}.s{run.seed}")
