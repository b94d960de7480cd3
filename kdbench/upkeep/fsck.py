"""Every stored file held against its digest and its identity, for `kdbench fsck`; changes nothing.

Results are held against their predictions too, where these are here, as `kdbench verify` does with a bundle.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from kdbench.errors import UserError
from kdbench.evidence.verify import contradictions, read_predictions
from kdbench.machine import Machine
from kdbench.spec.results import Result
from kdbench.store.compact import folder_of
from kdbench.store.files import digest
from kdbench.store.predictions import LABELS
from kdbench.store.records import index, load_failure, load_result

_NAME = re.compile(r"([1-9]\d*|best|labels)\.[0-9a-f]{64}\.(safetensors|classes)")
T = TypeVar("T")
LARGEST_HEAD = 10_000_000
"""Bytes of a safetensors file's head; those of a network of a thousand tensors are about 100,000."""


class ExaminedFile(Struct, frozen=True):
    """A file that was looked at, and what is wrong with it ("": nothing)."""

    kind: str
    path: str
    problem: str = ""
    seen: bool = True
    """False: a folder that could not be looked into; nothing is known of what lies there."""


def examine(machine: Machine) -> Iterator[ExaminedFile]:
    """Look at each file of results and scratch, and at the packed data sets."""
    there = index(machine.results)
    stored = sorted(chain(there.results.values(), *there.repeats.values()))
    results = {path: _loaded(load_result, path) for path in stored}
    records = Records([result for result, _ in results.values() if result is not None])
    for path, (result, problem) in results.items():
        found = problem if result is None else _wrong(path, result, records, machine.scratch)
        yield ExaminedFile("result", str(path), found)
    for path, problem in there.damaged.items():
        yield ExaminedFile("result", str(path), problem.removeprefix(f"{path}: "))
    for path in there.failures.values():
        yield ExaminedFile("failure", str(path), _loaded(load_failure, path)[1])
    # Of each folder of scratch: what lies in it, which files, and what finds out what is wrong with one.
    checks: tuple[tuple[str, str, str, Callable[[Path], str]], ...] = (
        ("weights", "weights", "*/*", lambda path: _digest(path) or records.handed_over(path)),
        ("predictions", "predictions", "*/*", _digest),
        ("checkpoints", "checkpoint", "*/*.safetensors", lambda path: _digest(path) or _checkpoint(path)),
        ("checkpoints", "checkpoint", "*/weights/*.safetensors", _digest),
        ("imported", "imported", "*.safetensors", _imported),
    )
    yield from _unseen(machine.scratch, {folder: kind for folder, kind, *_ in checks})
    for folder, kind, files, wrong in checks:
        for path in sorted((machine.scratch / folder).glob(files)):  # raises where the folder cannot be read
            yield ExaminedFile(kind, str(path), wrong(path))
    yield from _data(machine)


def _unseen(scratch: Path, kinds: Mapping[str, str]) -> Iterator[ExaminedFile]:
    """Folders that could not be looked into: glob passes over them in silence, `os.walk` names them."""
    for name, kind in kinds.items():
        errors: list[OSError] = []
        for _ in os.walk(scratch / name, onerror=errors.append):
            pass
        for error in errors:
            if not isinstance(error, FileNotFoundError):
                yield ExaminedFile(
                    kind, str(error.filename), f"cannot be looked into: {error.strerror}", seen=False
                )


class Records:
    """What results say of weights: those of each run, by epoch, of all its trainings."""

    def __init__(self, results: list[Result]) -> None:
        self.weights: dict[tuple[str, str], set[str]] = {}
        self.runs = {result.id for result in results}
        for result in results:
            for epoch, sha in result.weights.items():
                self.weights.setdefault((result.id, epoch), set()).add(sha)

    def taught(self, result: Result) -> str:
        """What is wrong with the teacher of a result."""
        teacher, sha = result.run.teacher, result.environment.get("teacher")
        if teacher is None or teacher.run.id not in self.runs:
            return ""
        # A teacher's record without weights of this epoch (they were not kept then) contradicts nothing.
        if sha in self.weights.get((teacher.run.id, str(teacher.epoch)), {sha}):
            return ""
        return (
            f"taught by weights {str(sha)[:12]}, which no result of its teacher (run {teacher.run.id}, epoch "
            f"{teacher.epoch}) records"
        )

    def handed_over(self, path: Path) -> str:
        """What is wrong with the weights of a run that has a result."""
        epoch, sha = path.name.split(".")[:2]
        if path.parent.name not in self.runs or sha in self.weights.get((path.parent.name, epoch), ()):
            return ""
        return f"no result of run {path.parent.name} records these weights"


def _loaded(load: Callable[[Path], T], path: Path) -> tuple[T | None, str]:
    """What a file holds, or what is wrong with it."""
    try:
        return load(path), ""
    except UserError as error:
        return None, error.problems[0].removeprefix(f"{path}: ")


def _wrong(path: Path, result: Result, records: Records, scratch: Path) -> str:
    """What is wrong with a result that agrees with itself."""
    return _misplaced(path, result) or records.taught(result) or _contradicted(result, scratch)


def _misplaced(path: Path, result: Result) -> str:
    run = result.run
    stem = f"{run.slug}.s{run.seed}.{run.id}"
    if folder_of(path).name == run.dataset and path.name.startswith(f"{stem}."):
        return ""
    return f"it belongs to {run.dataset}/{stem}.json: it was renamed or moved"


def _contradicted(result: Result, scratch: Path) -> str:
    """How the predictions that are stored for a record contradict it, as `kdbench verify` finds out."""
    try:
        predicted = read_predictions(result, scratch)
    except UserError:  # nobody knows how many classes the data set of a package has that is not installed
        return ""
    return contradictions(result, predicted) if LABELS in predicted else ""


def _digest(path: Path) -> str:
    """What is wrong with a file that has its sha256 in its name."""
    named = path.name.split(".")[-2] if path.name.count(".") >= 2 else ""
    if not _NAME.fullmatch(path.name):
        return "its name is not EPOCH.SHA256.safetensors or .classes; kdbench did not write it"
    try:
        found = digest(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if found == named else f"damaged: its sha256 is {found[:12]}, its name says {named[:12]}"


def _checkpoint(path: Path) -> str:
    """Whether it is a checkpoint of the run whose folder it lies in."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head = msgspec.json.decode(file.read(min(size, LARGEST_HEAD)))
        run = head["__metadata__"]["run"]
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return "it does not say whose checkpoint it is"
    return "" if run == path.parent.name else f"it is a checkpoint of run {run!s:.80}"


class _Provenance(Struct):
    sha256: str


def _imported(path: Path) -> str:
    try:
        provenance = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=_Provenance)
        found = digest(path)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"without a valid provenance record: {error}"
    recorded = provenance.sha256
    if found == recorded:
        return ""
    return f"damaged: its sha256 is {found[:12]}, its provenance record says {recorded[:12]!r}"


def _data(machine: Machine) -> Iterator[ExaminedFile]:
    from kdbench.data.place import list_datasets, verify_dataset, where

    place = where(machine.data_folder).path
    for row in list_datasets(place):
        if row.state != "packed":
            continue
        problem = ""
        try:
            verify_dataset(row.name, place)
        except UserError as error:
            problem = error.problems[0]
        yield ExaminedFile("data set", row.name, problem)
