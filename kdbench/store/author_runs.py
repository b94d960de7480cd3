"""results/author_runs/SUITE.json <-> AuthorRuns: what authors published of their own runs of a suite.

One file for a suite, one line for a run: the 1,340 values of a paper's repetitions take 80 kB. Like every
record it is written under another name, synced and renamed, and checked whenever it is read.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kdbench.errors import UserError
from kdbench.spec.author_runs import AUTHOR_RUNS_SCHEMA, AuthorRun, AuthorRuns
from kdbench.store.files import write
from kdbench.store.json_files import decoded, schema_of
from kdbench.store.records import content_of

FOLDER = "author_runs"


def author_runs_file(results: Path, suite: str) -> Path:
    """Where the author runs of a suite are kept."""
    return results / FOLDER / f"{suite}.json"


def load_author_runs(results: Path, suite: str) -> AuthorRuns:
    """The author runs of a suite; without any where none are stored.

    Raises:
        UserError: the file is broken, of a newer schema or of another suite; one sentence for each mistake.
    """
    path = author_runs_file(results, suite)
    return read_author_runs(path) if path.is_file() else AuthorRuns(suite=suite)


def read_author_runs(path: Path) -> AuthorRuns:
    """Read one file of author runs and check it.

    Raises:
        UserError: as `load_author_runs`, or it cannot be read.
    """
    content = content_of(path)
    schema = schema_of(content, AUTHOR_RUNS_SCHEMA)
    if schema > AUTHOR_RUNS_SCHEMA:
        raise UserError(
            f"{path}: author runs of schema {schema}, this is {AUTHOR_RUNS_SCHEMA}; update kdbench"
        )
    hint = "import the logs again (kdbench import log)"
    found = decoded(path, content, AuthorRuns, what="file of author runs", hint=hint)
    problems = [f"{path}: {problem}" for problem in mistakes(found, path.stem)]
    if problems:
        raise UserError(*problems)
    return found


def mistakes(found: AuthorRuns, suite: str) -> Iterator[str]:
    """What contradicts itself in the author runs of a suite."""
    if found.schema != AUTHOR_RUNS_SCHEMA:
        yield f"author runs of schema {found.schema}; valid: {AUTHOR_RUNS_SCHEMA}"
    if found.suite != suite:
        yield f"holds the author runs of suite {found.suite!r}; a file is named as its suite"
    numbers = Counter((run.row, run.run) for run in found.runs)
    for (row, number), times in numbers.items():
        if times > 1:
            yield f"{row}, run {number}: stands {times} times"
    for run in found.runs:
        for problem in _run_mistakes(run):
            yield f"{run.row}, run {run.run}: {problem}"


def _run_mistakes(run: AuthorRun) -> Iterator[str]:
    if run.epochs and len(run.epochs) != len(run.top1):
        yield f"{len(run.top1)} accuracies for {len(run.epochs)} epochs"
    if list(run.epochs) != sorted(set(run.epochs)):
        yield "its epochs do not rise"
    if run.top1 and (run.last, run.best) != (run.top1[-1], max(run.top1)):
        yield f"last {run.last} and best {run.best} are not those of its curve"
    if run.last is run.best is run.value is None:
        yield "no accuracy at all"


def save_author_runs(results: Path, runs: AuthorRuns) -> Path:
    """Keep the author runs of a suite, instead of those that were stored.

    Raises:
        UserError: they contradict themselves, or the file cannot be written.
    """
    path = author_runs_file(results, runs.suite)
    problems = [f"{path}: {problem}" for problem in mistakes(runs, runs.suite)]
    if problems:
        raise UserError(*problems)
    write(path, as_lines(runs))
    return path


def as_lines(runs: AuthorRuns) -> bytes:
    """The file's content: the same JSON as msgspec's, with each source and each run on a line of its own."""
    # msgspec would write one line, which git could not show a change of; indented, a run would take ten.
    head = {"kind": runs.kind, "schema": runs.schema, "suite": runs.suite}
    lines = [msgspec.json.encode(head)[:-1] + b',"published":[']
    for place, published in enumerate(runs.published):
        comma = b"," if place else b""
        lines.append(comma + b'{"source":' + msgspec.json.encode(published.source) + b',"runs":[')
        lines.append(b",\n".join(map(msgspec.json.encode, published.runs)) + b"]}")
    return b"\n".join(lines) + b"]}\n"
