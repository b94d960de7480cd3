"""What lies in results and scratch and nothing needs any more: for `kdbench gc`."""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, product
from pathlib import Path
from shutil import rmtree
from typing import get_args

from msgspec import Struct

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.plan.expand import expand, weights_needed
from kdbench.spec.suites import Suite, Variant
from kdbench.store import lease
from kdbench.store.records import Index, index, read_results
from kdbench.suite.load import load_suite

UNFINISHED = 3600.0
"""Seconds after which a file that was being written is thought to be a dead process's."""
_SEED = re.compile(r"\.s(\d{1,9})\.[0-9a-f]{12}\.")


class Leftover(Struct, frozen=True):
    """A file or folder that can go."""

    path: Path
    bytes: int
    why: str


def load_suites(named: Sequence[str]) -> list[Suite]:
    """These suites and all of `suites/`: what any of them needs must stay.

    Raises:
        UserError: one of them is wrong, as nobody knows then what it needs; or there are none.
    """
    paths = dict.fromkeys([*map(str, sorted(Path("suites").glob("*.toml"))), *named])
    if not paths:
        raise UserError("no suites/*.toml here: name the suites whose weights are needed")
    return [load_suite(path) for path in paths]


def find_leftovers(suites: Iterable[Suite], machine: Machine) -> list[Leftover]:
    """All that can go, by the folder it lies in; nothing of a run that is under way.

    A run whose record is damaged has no result: its checkpoints are what it would go on from.
    """
    there = index(machine.results)
    stored = read_results(there, there.results).records.keys()
    return [
        *_unfinished(machine.results),
        *_unfinished(machine.scratch),
        *_failures(there, stored),
        *_checkpoints(machine, stored),
        *_weights(machine, stored, needed(suites, there)),
        *_locks(machine, stored),
    ]


def remove(leftovers: Iterable[Leftover]) -> None:
    """Remove them, as far as they are still there; a run's lock only if nobody holds the run.

    Raises:
        UserError: one cannot be removed.
    """
    for each in leftovers:
        try:
            if each.path.parent.name == "locks":
                lease.remove_free(each.path)
            elif each.path.is_dir():
                rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{each.path}: cannot be removed: {error.strerror}") from error


def needed(suites: Iterable[Suite], there: Index) -> dict[str, set[int | str]]:
    """The epochs of each run that any row learns from, in either form, with any seed used so far."""
    used = _seeds(there)
    # None: those that a row asks for, which may not have been used yet.
    choices = [None, used] if used else [None]
    runs = chain.from_iterable(
        cell.runs
        for suite, variant, seeds in product(suites, get_args(Variant), choices)
        for cell in expand(suite, variant=variant, seeds=seeds)
    )
    return weights_needed(runs)


def _seeds(there: Index) -> set[int]:
    paths = [*there.results.values(), *there.failures.values()]
    return {int(found[1]) for path in paths if (found := _SEED.search(path.name))}


def _unfinished(folder: Path) -> Iterator[Leftover]:
    for path in sorted(folder.rglob(".*.part")):
        with suppress(FileNotFoundError):  # it was finished just now, and has its name
            if time.time() - path.stat().st_mtime > UNFINISHED:
                yield Leftover(path, _size(path), "never finished: its process died while it wrote")


def _failures(there: Index, stored: Collection[str]) -> Iterator[Leftover]:
    for run, path in there.failures.items():
        if run in stored:
            yield Leftover(path, _size(path), "its run has a result")


def _checkpoints(machine: Machine, stored: Collection[str]) -> Iterator[Leftover]:
    for folder in _folders(machine.scratch / "checkpoints"):
        if folder.name in stored and lease.owner(machine.scratch / "locks" / folder.name) is None:
            yield Leftover(folder, _size(folder), "checkpoints of a run that has its result")


def _weights(
    machine: Machine, stored: Collection[str], needed: Mapping[str, set[int | str]]
) -> Iterator[Leftover]:
    for folder in _folders(machine.scratch / "weights"):
        if folder.name not in stored:
            continue  # handed over by a run that is about to write its result
        epochs = {str(epoch) for epoch in needed.get(folder.name, ())}
        for path in sorted(folder.glob("*.*.safetensors")):
            if path.name.partition(".")[0] not in epochs:
                yield Leftover(path, _size(path), "weights from which no row learns")


def _locks(machine: Machine, stored: Collection[str]) -> Iterator[Leftover]:
    for folder in _folders(machine.scratch / "locks"):
        if folder.name in stored and lease.owner(folder) is None:
            yield Leftover(folder, _size(folder), "lock of a run that has its result")


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _size(path: Path) -> int:
    return sum(each.lstat().st_size for each in ([path] if path.is_file() else path.rglob("*")))
