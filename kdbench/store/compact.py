"""Many records in one file: results/DATASET/SLUG.jsonl instead of a JSON for each run.

The first line is what all records have in common, each further one the rest of a record:

    {"common": {"schema": 1, "run": {"dataset": "mnist", ...}, ...}}
    {"id": "0123456789ab", "run": {"seed": 3}, "curve": {...}, ...}

A record is the common part with the rest laid over it, object by object. Its path is as if it lay in a folder
of the file's name (SLUG.jsonl/SLUG.sSEED.ID.json), so that an error names file and run. `kdbench compact`
writes such files from the single ones, under a lock and by a rename; runs go on writing single ones.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kdbench.errors import UserError, git_hint
from kdbench.store.files import write

SUFFIX = ".jsonl"
LARGEST = 100_000_000
"""Bytes of a compact file; one of 1,320 runs has about a million."""
DIGITS = 6
"""Significant digits that a compact record keeps of losses; accuracies are kept whole."""
_STEM = re.compile(r"(?P<slug>.+)\.s\d+\.[0-9a-f]{12}\.json")
_ID = re.compile(rb'"id":"([0-9a-f]{12})"')
_SEED = re.compile(rb'"seed":(\d{1,9})\b')
Record = dict[str, Any]


def is_inside(path: Path) -> bool:
    """Whether a record's path is that of a line of a compact file."""
    return path.parent.suffix == SUFFIX and not path.parent.is_dir()


def folder_of(path: Path) -> Path:
    """The folder of a data set that a record lies in, by itself or in a compact file."""
    return path.parent.parent if is_inside(path) else path.parent


def file_of(path: Path) -> Path:
    """The file that holds a record."""
    return path.parent if is_inside(path) else path


class FileContent(NamedTuple):
    """What a compact file holds."""

    records: Mapping[str, Record]
    """By name."""
    damaged: Mapping[str, str]
    """What is wrong with a record that cannot be read and whose id can."""
    problem: str = ""
    """What is wrong with the file, where records may be lost of which nothing is known."""


def read(path: Path) -> bytes:
    """A record of a compact file, as a file of its own would hold it.

    Raises:
        UserError: the record is damaged, or the file has no such record.
    """
    found = contents(path.parent)
    if path.name in found.damaged:
        raise UserError(found.damaged[path.name])
    if path.name not in found.records:
        raise UserError(found.problem or f"{path.parent}: has no record {path.name}")
    return msgspec.json.encode(found.records[path.name])


def compact(folder: Path, lock: Path) -> dict[Path, int]:
    """Put the single records of a data set's folder into compact files, one for each slug.

    Args:
        folder: results/DATASET. Repeats and failures stay as they are.
        lock: where the lock of this folder lies: two of these never write at the same time.

    Returns:
        How many single records went into each compact file.

    Raises:
        UserError: a record or a compact file is damaged, or the folder cannot be written.
    """
    from filelock import FileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        single: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("*.json")):
            if match := _STEM.fullmatch(path.name):
                single.setdefault(match["slug"], []).append(path)
        written = {}
        for slug, paths in single.items():
            file = folder / f"{slug}{SUFFIX}"
            contents = {path: path.read_bytes() for path in paths}
            records = _whole(file) if file.exists() else {}
            records |= {path.name: rounded(_decoded(path, content)) for path, content in contents.items()}
            write(file, joined(records))
            # A single record that was written anew meanwhile stays, and outweighs the one in the file.
            for path, content in contents.items():
                if path.read_bytes() == content:
                    path.unlink()
            written[file] = len(paths)
        return written


def joined(records: Mapping[str, Record]) -> bytes:
    """Records by name, as a compact file holds them: by name, the common part before them."""
    ordered = [records[name] for name in sorted(records)]
    shared = common(ordered)
    lines = [{"common": shared}, *(rest(record, shared) for record in ordered)]
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def common(records: Sequence[Record]) -> Record:
    """What all objects have in common: equal values of equal keys, object by object.

    [{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}] gives {"a": 1, "b": {"c": 2}}.
    """
    # Types are compared, too: in Python 1 == 1.0 == True, and JSON has three of them. An empty object is a
    # value like any other: `rest` could not say that a record has one and the common part has none.
    shared: Record = {}
    for key, value in records[0].items():
        values = [record.get(key, _ABSENT) for record in records]
        if all(isinstance(each, dict) and each for each in values):
            shared[key] = common(values)
        elif all(each == value and type(each) is type(value) for each in values):
            shared[key] = value
    return shared


def rest(record: Record, shared: Record) -> Record:
    """What a record has beyond the common part; laid over that, it is the record again."""
    # What `shared` has, each record has, be it equal or an object of which a part is: only more can be left.
    left: Record = {}
    for key, value in record.items():
        if key not in shared:
            left[key] = value
        elif isinstance(value, dict) and value and (inner := rest(value, shared[key])):
            left[key] = inner
    return left


def laid_over(shared: Record, left: Record) -> Record:
    """The record that a common part and a rest make."""
    whole = dict(shared)
    for key, value in left.items():
        both = isinstance(value, dict) and isinstance(whole.get(key), dict)
        whole[key] = laid_over(whole[key], value) if both else value
    return whole


def rounded(record: Record) -> Record:
    """A record with `DIGITS` of each loss: the last bits differ from machine to machine in any case."""
    curve = dict(record["curve"])
    for name in ("test_loss", "train_loss"):
        curve[name] = [float(f"{value:.{DIGITS}g}") for value in curve[name]]
    return {**record, "curve": curve}


_ABSENT = object()


def _whole(file: Path) -> dict[str, Record]:
    """The records of a compact file that is to be written anew.

    Raises:
        UserError: it is damaged.
    """
    found = contents(file)
    for problem in (found.problem, *found.damaged.values()):
        if problem:
            raise UserError(problem)
    return dict(found.records)


def contents(file: Path) -> FileContent:
    """What a compact file holds, damaged or not; read once for each of its versions."""
    try:
        facts = file.stat()
        if facts.st_size > LARGEST:
            problem = f"{file}: larger than the {LARGEST:,} bytes that a compact file may have"
            return FileContent({}, {}, problem)
        return _parsed(file, facts.st_mtime_ns, facts.st_size)
    except OSError as error:
        return FileContent({}, {}, f"{file}: cannot be read: {error.strerror}")


@lru_cache(maxsize=64)
def _parsed(file: Path, _changed: int, _size: int) -> FileContent:
    """Kept as long as the file's time and size are the same.

    Line by line: a damaged line loses its record, a damaged first line or git's marks lose all.

    Of a lost record the id is looked for in what is left of its line, so that it is known whose it is.
    Where a line has none, or the file ends within a line, nobody knows whose records are lost: `problem`.
    """
    content = file.read_bytes()
    first, *others = content.splitlines() or [b""]
    reason, shared, unknown = git_hint(content), {}, content[-1:] != b"\n"
    try:
        shared = msgspec.json.decode(first, type=_First).common
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = reason or f"{error}; get it from git again"
    unknown |= bool(reason)
    records: dict[str, Record] = {}
    damaged: dict[str, str] = {}
    first_error = ""
    for line in others:
        try:
            record = laid_over(shared, msgspec.json.decode(line, type=Record))
            name = _name(file, record)
        except (ValueError, LookupError, TypeError) as error:  # a DecodeError and a UnicodeDecodeError too
            first_error, name = first_error or f"{error}; get it from git again", ""
        if not reason and name:
            records[name] = record
        elif of := _ID.search(line):
            seed = _SEED.search(line)
            name = f"{file.stem}.s{int(seed[1]) if seed else 0}.{of[1].decode()}.json"
            damaged[name] = f"{file}: no valid compact file of results: {reason or first_error}"
        else:
            unknown = True
    lost = reason or first_error or "its end is missing; get it from git again"
    return FileContent(
        records, damaged, f"{file}: no valid compact file of results: {lost}" if unknown else ""
    )


class _First(msgspec.Struct):
    common: Record


def _name(file: Path, record: Record) -> str:
    name = f"{file.stem}.s{int(record['run']['seed'])}.{record['id']!s:.12}.json"
    if not _STEM.fullmatch(name):
        raise ValueError(f"a record's id is {record['id']!r:.40}")
    return name


def _decoded(path: Path, content: bytes) -> Record:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no valid result: {error}; move it away to train the run again") from error
