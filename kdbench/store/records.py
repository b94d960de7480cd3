"""results/ <-> Result: the only state that kdbench has.

    results/DATASET/SLUG.sSEED.ID.json            one run
    results/DATASET/SLUG.sSEED.ID.repeat1.json    the same run, trained again
    results/DATASET/SLUG.sSEED.ID.failed.json     why it has no result yet
    results/DATASET/SLUG.jsonl                    many runs in one file (compact.py)
    results/trials/DATASET/...                    runs of `--smoke` and `--set`, which git leaves alone

No result is ever overwritten.
"""

import os
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from kdbench.errors import UserError, git_hint, plain, require
from kdbench.spec.results import RESULT_SCHEMA, Failure, Result
from kdbench.spec.runs import Run
from kdbench.store import compact
from kdbench.store.files import check_folder, shown, write
from kdbench.store.json_files import BROKEN, as_json, decoded, schema_of

TRIALS = "trials"
"""The folder, in that of the results, of runs that no suite has: those of `--smoke` and `--set`."""
HINT = "move it away to train the run again"
LARGEST_RESULT = 10_000_000
"""Bytes; a record of 1,000 epochs has about 60,000."""
_NAME = re.compile(r"\.s\d+\.(?P<id>[0-9a-f]{12})\.(?:(?P<kind>repeat\d+|failed)\.)?json$")
_NUMBERS = re.compile(rb"\[[\s\d.,eE+-]*\]")
R = TypeVar("R", Result, Failure)

_NONE: Mapping[str, Run] = MappingProxyType({})


class Index(msgspec.Struct, frozen=True):
    """Which files a results folder has, by the id of their run: listed, but compact files are opened.

    The path of a record in a compact file is that file's, and its own name below it.
    """

    results: dict[str, Path]
    repeats: dict[str, list[Path]]
    failures: dict[str, Path]
    damaged: dict[Path, str] = {}
    """Compact files of which records are lost, and what is wrong with them."""

    def lost(self, run: Run) -> str:
        """Why a result that is not there may be in a damaged compact file; "" of any other run."""
        if run.id in self.results:
            return ""
        for file, problem in self.damaged.items():
            if (file.parent.name, file.stem) == (run.dataset, run.slug):
                return problem
        return ""


def index(folder: Path, *, trials: bool = True, datasets: Container[str] | None = None) -> Index:
    """List a results folder, with its trials or without; one that does not exist yet is empty.

    A damaged file stops nothing. Where data sets are named, the folders of others are not looked at: compact
    files are read as a whole.

    Raises:
        UserError: it is no folder.
    """
    check_folder(folder)
    found = Index({}, {}, {})
    apart = folder / TRIALS
    parents = sorted(apart.iterdir()) if trials and apart.is_dir() else []  # first: the others outweigh them
    parents += sorted(folder.iterdir()) if folder.is_dir() else []
    for parent in parents:
        if datasets is None or parent.name in datasets:
            _add(found, parent)
    return found


def _add(found: Index, parent: Path) -> None:
    """List the records of a data set: those of compact files first, which the single ones outweigh."""
    names = sorted(os.listdir(parent)) if parent.is_dir() else []  # noqa: PTH208 - sorts text
    for name in names:
        if name.endswith(compact.SUFFIX):
            file = parent / name
            there = compact.contents(file)
            for record in (*there.records, *there.damaged):
                if match := _NAME.search(record):
                    found.results[match["id"]] = file / record
            if there.problem:
                found.damaged[file] = there.problem
    for name in names:
        match = _NAME.search(name)
        if match is None:
            continue
        path = parent / name
        run, kind = match["id"], match["kind"] or "result"
        if kind == "result":
            found.results[run] = path
        elif kind == "failed":
            found.failures[run] = path
        else:
            found.repeats.setdefault(run, []).append(path)


class Loaded(msgspec.Struct, Generic[R], frozen=True):
    """Records by the id of their run: those that could be read, and what is wrong with the others."""

    records: dict[str, R]
    unreadable: dict[str, str]


def read_results(there: Index, ids: Iterable[str], known: Mapping[str, Run] = _NONE) -> Loaded[Result]:
    """The results of these runs, as far as they are there.

    Args:
        there: the folder's index.
        ids: the runs.
        known: runs by id, as far as they are at hand: comparing is cheaper than hashing.
    """
    ids = list(dict.fromkeys(ids))
    loaded = _read_all(there.results, ids, lambda run, path: load_result(path, known.get(run)))
    for run in ids if there.damaged else ():
        if run in known and (problem := there.lost(known[run])):
            loaded.unreadable[run] = problem
    return loaded


def load_results(there: Index, ids: Iterable[str], known: Mapping[str, Run] = _NONE) -> dict[str, Result]:
    """The results of these runs, as far as they are there; all of them must be whole.

    Args:
        there: the folder's index.
        ids: the runs.
        known: runs by id, as far as they are at hand.

    Raises:
        UserError: a file is broken, of another schema, or not what its name says; all of them at once.
    """
    loaded = read_results(there, ids, known)
    if loaded.unreadable:
        raise UserError(*loaded.unreadable.values())
    return loaded.records


def read_repeats(there: Index, ids: Iterable[str]) -> tuple[dict[str, list[Result]], dict[str, list[str]]]:
    """The further trainings of these runs that have a first result, in their order.

    Returns:
        By run, those that could be read; and the sentences on those that could not.
    """
    found: dict[str, list[Result]] = {}
    unreadable: dict[str, list[str]] = {}
    for run in dict.fromkeys(ids):
        for path in there.repeats.get(run, ()) if run in there.results else ():
            try:
                found.setdefault(run, []).append(load_result(path))
            except UserError as error:
                unreadable.setdefault(run, []).append(sentence(error, path))
    return found, unreadable


def read_failures(there: Index) -> Loaded[Failure]:
    """Why runs have no result. Those of runs that have one by now are not looked at."""
    ids = [run for run in there.failures if run not in there.results]
    return _read_all(there.failures, ids, lambda _, path: load_failure(path))


def _read_all(paths: dict[str, Path], ids: Iterable[str], load: Callable[[str, Path], R]) -> Loaded[R]:
    loaded: Loaded[R] = Loaded({}, {})
    for run in dict.fromkeys(ids):
        if run in paths:
            try:
                loaded.records[run] = load(run, paths[run])
            except UserError as error:
                loaded.unreadable[run] = sentence(error, paths[run])
    return loaded


def sentence(error: UserError, path: Path) -> str:
    """What is wrong with a record, for reports, which name no folder of this machine."""
    return "; ".join(error.problems).replace(str(path), shown(path))


def load_result(path: Path, known: Run | None = None) -> Result:
    """Read one result and hold it against its own id and curve, and against the run if that is known.

    Raises:
        UserError: broken, of a newer schema, or its content is not that of its id.
    """
    content = content_of(path)
    try:
        result = msgspec.json.decode(content, type=Result)
    except BROKEN as error:
        result = _upgraded(path, content, error)
    else:
        if result.schema != RESULT_SCHEMA:
            result = _upgraded(path, content, None)
    _check_identity(path, result, known)
    _check_curve(path, result)
    return result


def _broken(path: Path, content: bytes, error: Exception) -> UserError:
    hint = git_hint(content) or f"{error}; {HINT}"
    return UserError(f"{path}: no valid result: {hint}")


def _upgraded(path: Path, content: bytes, broken: Exception | None) -> Result:
    """A result of an older schema in today's form.

    Raises:
        UserError: of a newer schema, of one that was never written, or broken.
    """
    schema = schema_of(content, RESULT_SCHEMA)
    if schema == RESULT_SCHEMA and broken is not None:
        raise _broken(path, content, broken) from broken
    if schema not in UPGRADES:
        age = "newer; update kdbench" if schema > RESULT_SCHEMA else "older"
        raise UserError(f"{path}: result of schema {schema}, which is {age}; this is {RESULT_SCHEMA}")
    try:
        values: dict[str, Any] = msgspec.json.decode(content)
        for step in range(schema, RESULT_SCHEMA):
            values = {**UPGRADES[step](values), "schema": step + 1}
        return msgspec.convert(values, Result)
    except (*BROKEN, LookupError, TypeError, ValueError) as error:
        raise _broken(path, content, error) from error


def load_failure(path: Path) -> Failure:
    """Read why a run has no result.

    Raises:
        UserError: broken, or its content is not that of its id.
    """
    failure = decoded(path, content_of(path), Failure, what="record of a failure", hint="remove it")
    _check_identity(path, failure)
    return failure


def content_of(path: Path) -> bytes:
    """A record as its file holds it, or as a file of its own would.

    Raises:
        UserError: it cannot be read, or is too large.
    """
    if compact.is_inside(path):
        return compact.read(path)
    try:
        if path.stat().st_size > LARGEST_RESULT:
            raise UserError(f"{path}: larger than the {LARGEST_RESULT:,} bytes that a record may have")
        return path.read_bytes()
    except OSError as error:
        if path.is_symlink():
            what = f"a link to {path.readlink()}, which cannot be read"
            raise UserError(f"{path}: {what}: {error.strerror}; is it not mounted? Else {HINT}") from error
        hint = f"; {HINT}" if path.is_dir() else ""
        raise UserError(f"{path}: cannot be read: {error.strerror}{hint}") from error


def _check_identity(path: Path, record: Result | Failure, known: Run | None = None) -> None:
    """Refuse a record whose name, id and run do not belong together."""
    match = _NAME.search(path.name)
    named = match["id"] if match else "no id"
    # A run that is at hand is compared and not hashed: of 30,000 records that saves most of the time.
    try:
        if known is not None and record.id == named == known.id and record.run == known:
            return
        hashed = record.run.id
    except RecursionError as error:
        raise UserError(f"{path}: its teachers are nested too deep; move it away") from error
    if not record.id == hashed == named:
        raise UserError(
            f"{path}: its run hashes to {hashed}, its id is {record.id:.80}, its name says {named}: "
            f"it was changed by hand or comes from another experiment; move it away"
        )


def _check_curve(path: Path, result: Result) -> None:
    """Refuse a result whose curve is not of its epochs, or whose summary is not of its curve."""
    curve = result.curve
    parts = [curve.top1, curve.test_loss, curve.train_loss, curve.seconds]
    if curve.validation_top1 or result.run.recipe.validation_size:
        parts.append(curve.validation_top1)
    lengths = {len(part) for part in parts}
    if lengths != {result.run.recipe.epochs}:
        raise UserError(
            f"{path}: its curve has {sorted(lengths)} points for {result.run.recipe.epochs} epochs; {HINT}"
        )
    # A record always holds the latest of several best epochs; a suite's `ties` are applied when it is judged.
    best_epoch = curve.best_epoch
    summary = (curve.at("last"), curve.at(best_epoch), best_epoch)
    if summary != (result.last, result.best, result.best_epoch):
        raise UserError(f"{path}: last, best and best_epoch are not those of its curve, {summary}; {HINT}")


def save_result(folder: Path | str, result: Result, *, trial: bool = False) -> Path:
    """Keep a result; beside the first one, as a repeat, where the run has one already.

    Args:
        folder: of results.
        result: of a run.
        trial: keep it apart, where git does not see it.

    Raises:
        UserError: the folder cannot be written, or it is no result.
    """
    require("folder", folder, (str, Path), "a results folder")
    require("result", result, Result, "a result from kdbench.train")
    folder = Path(folder)
    # The first name that is free: its own, else that of a repeat. Another process may take one between the
    # look and the write; `fresh` then leaves it, and the next number is tried.
    there = _stem(_trials(folder) if trial else folder, result.run)
    path, number = there.with_name(f"{there.name}.json"), 0
    compacted = there.with_name(f"{result.run.slug}{compact.SUFFIX}")
    if compacted.exists() and _compacted(compacted, result.run):
        number = 1
        path = there.with_name(f"{there.name}.repeat1.json")
    while path.exists() or not write(path, _pretty(result), fresh=True):
        number += 1
        path = there.with_name(f"{there.name}.repeat{number}.json")
    with suppress(FileNotFoundError):
        there.with_name(f"{there.name}.failed.json").unlink()
    return path


def _trials(folder: Path) -> Path:
    """The folder of trials, in which git sees nothing."""
    apart = folder / TRIALS
    if not (apart / ".gitignore").exists():
        write(apart / ".gitignore", b"*\n")
    return apart


def save_failure(folder: Path, failure: Failure, *, trial: bool = False) -> Path:
    """Keep why a run has no result, instead of what an earlier try left; arguments as of `save_result`.

    Raises:
        UserError: the folder cannot be written.
    """
    there = _stem(_trials(folder) if trial else folder, failure.run)
    path = there.with_name(f"{there.name}.failed.json")
    write(path, _pretty(replace(failure, cause=_line(failure.cause), log=_line(failure.log))))
    return path


def _line(text: str) -> str:
    return plain(" ".join(text.split()))[:4096]


def _stem(folder: Path, run: Run) -> Path:
    return folder / run.dataset / f"{run.slug}.s{run.seed}.{run.id}"


def _pretty(record: Result | Failure) -> bytes:
    """Indented, a list of numbers on one line."""
    # Indented, a curve of 200 epochs would take 800 lines, and a diff of it would say nothing.
    return _NUMBERS.sub(lambda found: b"[" + b" ".join(found[0][1:-1].split()) + b"]", as_json(record))


def find_result(folder: Path, run: Run) -> Path | None:
    """Where a run's result lies, as `index` would say: only the folders of its data set are listed."""
    for place in (folder, folder / TRIALS):
        there = _stem(place, run)
        names = os.listdir(there.parent) if there.parent.is_dir() else []  # noqa: PTH208 - text is faster
        # All single records first: as in `index`, one outweighs the same run's in a compact file.
        for name in names:
            if name.endswith(_ending(run)):
                return there.with_name(name)
        for name in names:
            if (path := _compacted(there.with_name(name), run)) is not None:
                return path
    return None


def _compacted(file: Path, run: Run) -> Path | None:
    """A run's first result in a compact file; the bytes of its id are looked for before all is decoded."""
    if not file.name.endswith(compact.SUFFIX) or run.id.encode() not in file.read_bytes():
        return None
    found = compact.contents(file)
    names = (*found.records, *found.damaged)
    return next((file / name for name in names if name.endswith(_ending(run))), None)


def _ending(run: Run) -> str:
    """Of the name of a run's first result; the slug before it may be that of another version of kdbench."""
    return f".s{run.seed}.{run.id}.json"


FACTS_LEFT_OUT = ("teacher", "commit", "dirty", "started", "finished", "cohort", "processes")
"""Facts of a record that differ from run to run of one training campaign, or never change a number."""


def facts(results: Iterable[Result], most: int | None = None) -> dict[str, str]:
    """What results were trained with: each fact, with all its values where they differ.

    A run that was resumed counts with each of its processes.

    Args:
        results: the results.
        most: of more values of a fact than these the first ones are named and the others counted
            (data sets that are drawn for each seed have a digest for each). None: all are named.
    """
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for environment in (result.environment, *(each.environment for each in result.segments)):
            for key, value in environment.items():
                if key not in FACTS_LEFT_OUT and value is not None:
                    found.setdefault(key, {})[str(value)] = None
    return {key: _listed(sorted(values), most) for key, values in found.items()}


def _listed(values: Sequence[str], most: int | None) -> str:
    """`a, b, c`; with `most` 2 `a, b and 1 more`."""
    if most is None or len(values) <= most:
        return ", ".join(values)
    return f"{', '.join(values[:most])} and {len(values) - most:,} more"


Content = dict[str, Any]


def _with_ghost_batches(content: Content) -> Content:
    """Schema 1 called a recipe's ghost_batches `parts`, in the run and in the runs of its teachers."""
    # No id changes: `identity` hashes the field by its first name (spec/identity.py).
    run = content["run"]
    while run is not None:
        recipe = run["recipe"]
        if "parts" in recipe:
            recipe["ghost_batches"] = recipe.pop("parts")
        run = (run.get("teacher") or {}).get("run")
    return content


UPGRADES: dict[int, Callable[[Content], Content]] = {1: _with_ghost_batches}
"""By the schema that is upgraded. Schema 1 is the first that was ever written."""
