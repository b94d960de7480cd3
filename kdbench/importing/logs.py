"""`kdbench import log`: other people's logs -> the author runs of a suite."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from kdbench.catalog import unknown
from kdbench.errors import UserError
from kdbench.formatting import columns as table
from kdbench.formatting import number, plural
from kdbench.grouping import grouped
from kdbench.importing.logs_curves import Curve, curves, in_percent
from kdbench.importing.logs_files import Columns, Stretch, read_log
from kdbench.spec.author_runs import AuthorRun, AuthorRuns, LogSource, PublishedRuns
from kdbench.spec.suites import Row, Suite
from kdbench.store.files import digest


class LogRequest(Struct, frozen=True, kw_only=True):
    """What is to be imported, and to which rows it belongs."""

    files: tuple[Path, ...]
    row: str
    """A glob over the suite's rows, without regard to case. `{NAME}` is the cell of a column, `{NAME:g}` its
    number without trailing zeros: `{method}/{student}:{teacher}`."""
    columns: Columns = Columns()
    kind: str = ""
    run: str = ""
    """The column with the number of the run ("": they are counted as they come)."""
    log: str = ""
    """The column with the place of a run's own log in the repository."""
    renames: Mapping[str, str] = {}
    """Cells as the file has them -> as the names of rows have them."""
    unit: str = "auto"
    repository: str = ""
    commit: str = ""
    path: str = ""
    """The file's place in the repository; of several files their folder, with / at its end."""
    unfinished: bool = False
    """Keep runs that end before their row's last epoch too."""


class ImportedLogs(Struct, frozen=True):
    """What came of it: all author runs of the suite, those that are new, and what was noticed."""

    runs: AuthorRuns
    read: tuple[PublishedRuns, ...]
    notes: tuple[str, ...]


class _Key(Struct, frozen=True):
    """Whose run a line of a log is."""

    row: str
    run: int | None
    log: str


class _Cell(str):
    """A cell of a table in the template of a row: `{lambda}` as it stands, `{lambda:g}` as a number."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else str(self)


def import_logs(asked: LogRequest, suite: Suite, stored: AuthorRuns) -> ImportedLogs:
    """Read logs and join them with the author runs that a suite has.

    A file that was read before, known by its digest, replaces what it gave then for the same rows.

    Raises:
        UserError: a log is broken or cut off, fits no row, or gives a run that another file gave; all
            mistakes of all files at once.
    """
    # kept: files that this import does not touch; taken: whose runs have which number, to refuse two of one.
    sources = {file: _source(file, asked) for file in dict.fromkeys(asked.files)}
    again = {source.sha256 for source in sources.values()}
    kept = [each for each in stored.published if each.source.sha256 not in again]
    taken = {(run.row, run.run): each.source.file for each in kept for run in each.runs}
    read: list[PublishedRuns] = []
    notes: list[str] = []
    problems: list[str] = []
    for file, source in sources.items():
        try:
            runs = _runs_of(file, asked, suite, taken, notes)
        except UserError as error:
            problems += error.problems
            continue
        taken |= {(run.row, run.run): source.file for run in runs}
        read.append(PublishedRuns(source=source, runs=tuple(runs)))
    if problems:
        raise UserError(*problems)
    before = [each for each in stored.published if each.source.sha256 in again]
    whole = sorted(
        [*kept, *_joined_by_file(before, read)], key=lambda each: (each.source.path, each.source.file)
    )
    return ImportedLogs(AuthorRuns(suite=suite.name, published=tuple(whole)), tuple(read), tuple(notes))


def _joined_by_file(
    before: Sequence[PublishedRuns], read: Sequence[PublishedRuns]
) -> Iterator[PublishedRuns]:
    """What was read, each file with the runs of other rows that it gave before.

    A table holds the runs of several rows in several columns: one import reads the students, another one the
    teachers.
    """
    for published in read:
        rows = {run.row for run in published.runs}
        same = [each for each in before if each.source.sha256 == published.source.sha256]
        others = [run for each in same for run in each.runs if run.row not in rows]
        yield replace(published, runs=(*others, *published.runs))


def _source(file: Path, asked: LogRequest) -> LogSource:
    """Where a log comes from, with its digest; a path that ends in / names the folder it lay in.

    Of a folder: the digest of its event files, of which a training that was started again has several.
    """
    try:
        if file.is_dir():
            sha256 = _digest_of_folder(file)
        elif file.is_file():
            sha256 = digest(file)
        else:
            raise UserError(f"{file}: there is no such file")
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    path = f"{asked.path}{file.name}" if asked.path.endswith("/") else asked.path
    return LogSource(
        file=file.resolve().name, sha256=sha256, repository=asked.repository, commit=asked.commit, path=path
    )


def _digest_of_folder(folder: Path) -> str:
    """The sha256 of a folder's one event file; of several that of their names and digests."""
    files = sorted(folder.glob("*.tfevents.*"))
    if not files:
        raise UserError(f"{folder}: a folder without event files (*.tfevents.*); name a log")
    if len(files) == 1:
        return digest(files[0])
    lines = [f"{file.name} {digest(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _runs_of(
    file: Path, asked: LogRequest, suite: Suite, taken: Mapping[tuple[str, int], str], notes: list[str]
) -> list[AuthorRun]:
    """The author runs that one file gives; what was noticed is added to `notes`."""
    rows = {row.name: row for row in suite.rows}
    keyed = _joined(read_log(file, asked.columns, asked.kind), asked, suite)
    found = [(key, curve) for key, stretch in keyed for curve in curves(stretch)]
    # All runs of a file in one unit: one of 0.9 could be a fraction or a network that learned nothing.
    in_unit, note = in_percent([curve for _, curve in found], asked.unit)
    if note:
        notes.append(f"{file}: {note}")
    # Curves by their row, each with what the log says of its run: {"1/mlp": [(key, curve), ...]}.
    keys = [key for key, _ in found]
    by_row = grouped((key.row, (key, curve)) for key, curve in zip(keys, in_unit, strict=True))
    runs = []
    repeated = 0
    for name, some in by_row.items():
        stored = {run: file_name for (row, run), file_name in taken.items() if row == name}
        whole = _whole(rows[name], some, notes, unfinished=asked.unfinished)
        own = _numbered(name, whole, stored, notes)
        repeated += len(whole) - len(own)
        runs += own
    if repeated:
        notes.append(f"{file}: {plural(repeated, 'line')} repeat a run with the same value; kept once")
    return runs


def _joined(stretches: Sequence[Stretch], asked: LogRequest, suite: Suite) -> list[tuple[_Key, Stretch]]:
    """Each stretch with whose run it is; lines of one epoch each are joined to their run's stretch."""
    found: list[tuple[_Key, Stretch]] = []
    lines: dict[_Key, list[Stretch]] = {}
    known: dict[str, str] = {}
    for stretch in stretches:
        key = _key(stretch, asked, suite, known)
        if stretch.one_epoch:
            lines.setdefault(key, []).append(stretch)
        else:
            found.append((key, stretch))
    for key, some in lines.items():
        points = [point for each in some for point in each.points]
        found.append((key, Stretch(place=f"{some[0].place} and after", points=points)))
    return found


def _key(stretch: Stretch, asked: LogRequest, suite: Suite, known: dict[str, str]) -> _Key:
    """Which row, run and log a stretch of a log belongs to, by the columns that the command names."""
    cells = {name: _Cell(asked.renames.get(text, text)) for name, text in stretch.cells.items()}
    try:
        glob = asked.row.format_map(cells)
    except KeyError as error:
        raise UserError(f"--row {asked.row!r}: {unknown('column', str(error.args[0]), cells)}") from error
    except (ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{stretch.place}: --row {asked.row!r}: {error}") from error
    if glob not in known:
        known[glob] = _row_named(glob, suite, stretch.place)
    for option, column in (("--run", asked.run), ("--log", asked.log)):
        if column and column not in stretch.cells:
            raise UserError(f"{option} {column!r}: {unknown('column', column, stretch.cells)}")
    return _Key(known[glob], _run_number(stretch, asked.run), stretch.cells.get(asked.log, ""))


def _run_number(stretch: Stretch, column: str) -> int | None:
    if not column:
        return None
    text = stretch.cells[column].strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError(f"{stretch.place}: --run {column}: {text!r:.40} is no number of a run")
    return int(text)


def _row_named(glob: str, suite: Suite, place: str) -> str:
    names = [row.name for row in suite.rows if fnmatchcase(row.name.casefold(), glob.casefold())]
    if len(names) == 1:
        return names[0]
    if names:
        raise UserError(f"{place}: {glob!r} means {len(names)} rows: {', '.join(names[:5])}; name one")
    raise UserError(
        f"{place}: {suite.path} has no such row. {unknown('row', glob, [r.name for r in suite.rows])}"
    )


def _whole(
    row: Row, some: Sequence[tuple[_Key, Curve]], notes: list[str], *, unfinished: bool
) -> list[tuple[_Key, Curve]]:
    """The runs of a row that came to their end; one that was begun anew afterwards is left out and noted.

    Raises:
        UserError: none of them came to its end.
    """
    ended = [_ended(row, curve) for _, curve in some]
    if unfinished or all(ended):
        return list(some)
    if not any(ended):
        _, curve = some[-1]
        raise UserError(
            f"{curve.place}: {row.name}: the log ends at epoch {curve.epochs[-1]} of {row.recipe.epochs}: it "
            "was cut off, is still written or another row's; fetch it again, or keep it with --unfinished"
        )
    for (_, curve), whole in zip(some, ended, strict=True):
        if not whole:
            notes.append(f"{curve.place}: left out, a run that ends at epoch {curve.epochs[-1]}")
    return [each for each, whole in zip(some, ended, strict=True) if whole]


def _ended(row: Row, curve: Curve) -> bool:
    return not curve.epochs or (curve.finished and curve.epochs[-1] >= row.recipe.epochs)


def _numbered(
    row: str, some: Sequence[tuple[_Key, Curve]], taken: Mapping[int, str], notes: list[str]
) -> list[AuthorRun]:
    """Runs with their numbers: those of the column, or the next ones that are free.

    Raises:
        UserError: a number is another run's.
    """
    runs: dict[int, AuthorRun] = {}
    for key, curve in some:
        # Without a column runs are counted on from the largest number of the row, whichever file it is of.
        run_number = key.run
        if run_number is None:
            run_number = max([*taken, *runs], default=0) + 1
        run = _author_run(row, run_number, key.log, curve)
        if run_number in taken:
            raise UserError(
                f"{curve.place}: {row}, run {run_number} is stored already, from {taken[run_number]}; remove "
                "it from there first, or give the runs other numbers (--run)"
            )
        if run_number in runs and runs[run_number] != run:
            raise UserError(f"{curve.place}: {row}, run {run_number} stands twice, with different values")
        runs[run_number] = run
        notes += [f"{curve.place}: {note}" for note in curve.notes]
    if len(some) > len({key for key, _ in some}) and any(curve.epochs for _, curve in some):
        notes.append(f"{some[0][1].place}: {plural(len(some), 'run')} of {row} in one place")
    return list(runs.values())


def _author_run(row: str, run: int, log: str, curve: Curve) -> AuthorRun:
    in_a_row = curve.epochs == tuple(range(1, len(curve.epochs) + 1))
    return AuthorRun(
        row=row,
        run=run,
        path=log,
        top1=curve.top1,
        epochs=() if in_a_row else curve.epochs,
        last=curve.last,
        best=curve.best,
        value=curve.value,
        note="; ".join(curve.notes)[:4096],
    )


def describe(found: ImportedLogs, where: str, *, dry_run: bool) -> Iterator[str]:
    """What was read: a line for each row, then what was noticed, then where it is kept."""
    by_row = grouped((run.row, run) for each in found.read for run in each.runs)
    lines = [_line(row, runs) for row, runs in by_row.items()]
    yield table(lines, ["row", "runs", "epochs", "last", "best", "value"])
    yield from found.notes
    count = plural(sum(map(len, by_row.values())), "author run")
    rows = plural(len(by_row), "row")
    files = plural(len(found.read), "file")
    kept = f"would be kept in {where}" if dry_run else f"kept in {where}"
    yield f"{count} of {rows} from {files}, {kept}"


def _line(row: str, runs: Sequence[AuthorRun]) -> tuple[str, ...]:
    epochs = sorted({run.last_epoch for run in runs})
    means = []
    for name in ("last", "best", "value"):
        values = [value for run in runs if (value := getattr(run, name)) is not None]
        means.append(number(sum(values) / len(values)) if values else "")
    return (row, str(len(runs)), ", ".join(str(each) for each in epochs if each), *means)
