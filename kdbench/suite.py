"""suites/*.toml -> Suite: every mistake of the file at once, each with its place and its cure."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import asdict

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.mistakes import find_mistakes
from kdbench.schema import Place, RowFile, SuiteFile, TableFile, read_suite_file, struct_at
from kdbench.spec import Delta, Loss, Recipe, Reference, Row, Suite, TeacherName, Tolerance
from kdbench.toml import parse


def load_suite(path: str | Path) -> Suite:
    """Read one suite, named by its path with or without `.toml`.

    Raises:
        UserError: the file is missing or wrong; one sentence for each of its mistakes.
    """
    file = find_file(Path(path))
    content = parse(file)
    place = Place(str(file))
    written = read_suite_file(content, place)
    if written is None:
        raise UserError(*place.problems)
    suite = build(file, written, place)
    place.problems.extend(find_mistakes(suite))
    if place.problems:
        raise UserError(*place.problems)
    return suite


def find_file(path: Path) -> Path:
    """The file that a suite's name means.

    Raises:
        UserError: there is none; the message lists the suites beside it.
    """
    for candidate in (path, path.with_name(path.name + ".toml")):
        if candidate.is_file():
            return candidate
    folder = path.parent if path.parent.is_dir() else Path("suites")
    there = sorted(file.stem for file in folder.glob("*.toml"))
    raise UserError(f"no such suite: {path}. " + catalog.unknown("suite", path.name, there))


def build(file: Path, written: SuiteFile, place: Place) -> Suite:
    """The rows of all tables, each with its recipe and loss made whole (suite < table < row)."""
    rows = tuple(
        row
        for number, table in enumerate(written.table, 1)
        for row in _rows(written, table, place.at(f"table {number} ({table.id})"))
    )
    head = written.suite
    return Suite(
        name=file.stem,
        path=str(file),
        paper=head.paper,
        arxiv=head.arxiv,
        code=head.code,
        dataset=head.dataset,
        teacher=head.teacher,
        rows=rows,
        deltas=tuple(Delta(**asdict(delta)) for delta in written.delta),
    )


def _rows(written: SuiteFile, table: TableFile, place: Place) -> Iterator[Row]:
    whole = struct_at(Recipe, {**written.recipe, **table.recipe}, place.at("recipe"))
    margins = struct_at(Tolerance, written.tolerance, Place(place.path, "[tolerance]", place.problems))
    for number, line in enumerate(table.rows, 1):
        here = place.at(f"row {number} ({line.student})")
        changed = {**written.recipe, **table.recipe, **line.recipe}
        recipe = struct_at(Recipe, changed, here.at("recipe")) if line.recipe else whole
        own = {**written.tolerance, **line.tolerance}
        tolerance = struct_at(Tolerance, own, here.at("tolerance")) if line.tolerance else margins
        loss = _loss({**table.loss, **line.loss}, here)
        if recipe is not None and tolerance is not None and loss is not None:
            yield _row(written, table, line, recipe, loss, tolerance, here)


def _row(
    written: SuiteFile,
    table: TableFile,
    line: RowFile,
    recipe: Recipe,
    loss: Loss,
    tolerance: Tolerance,
    place: Place,
) -> Row:
    reading = line.reading or table.reading or written.suite.reading
    at = f"@{reading}" if isinstance(reading, int) else ""
    taught = f":{line.teacher}" if line.teacher else ""
    return Row(
        name=f"{table.id}/{line.student}{at}{taught}",
        table=table.id,
        student=line.student,
        teacher=_teacher(line.teacher, place),
        recipe=recipe,
        loss=loss,
        seeds=line.seeds or table.seeds or written.suite.seeds,
        reading=reading,
        tolerance=tolerance,
        reference=_reference(table, line),
        sic=line.sic,
        assumed=" ".join(text for text in (table.assumed, line.assumed) if text),
        note=line.note,
    )


def _reference(table: TableFile, line: RowFile) -> Reference:
    return Reference(
        top1=line.top1,
        std=line.std,
        n=(line.n or table.n) if line.std is not None else None,
        gain=line.gain,
        kind=table.kind,
        source=line.source or table.source,
    )


def _loss(written: Mapping[str, object], place: Place) -> Loss | None:
    params = {key: value for key, value in written.items() if key != "name"}
    wrong = [key for key, value in params.items() if isinstance(value, bool) or not _is_number(value)]
    for key in wrong:
        place.say(f"loss.{key} is {params[key]!r}; a parameter of a loss is a number")
    if not isinstance(written.get("name"), str):
        place.say('the loss has no name; write for example loss = { name = "ce" }')
        return None
    return None if wrong else Loss(str(written["name"]), {key: float(params[key]) for key in sorted(params)})  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")  # noqa: PLR0124 - NaN


def _teacher(written: str | None, place: Place) -> TeacherName | None:
    if written is None:
        return None
    student, at, epoch = written.partition("@")
    if not at or epoch in ("last", "best"):
        return TeacherName(student, epoch or None)  # type: ignore[arg-type]
    if epoch.isascii() and epoch.isdigit() and int(epoch) > 0:
        return TeacherName(student, int(epoch))
    place.say(f"teacher {written!r}: after @ comes an epoch from 1, `best` or `last`")
    return None
