"""suites/*.toml -> Suite: every mistake of the file at once, each with its place and a hint."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from errno import ENAMETOOLONG
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kdbench.errors import UserError, require
from kdbench.machine import link_to_nowhere
from kdbench.spec.runs import Loss, Recipe
from kdbench.spec.suites import Reference, Row, Suite, TeacherName, Tolerance
from kdbench.spec.weights import Imported, Weights
from kdbench.suite.schema import RowFile, SuiteFile, SuiteHead, TableFile, read_suite_file
from kdbench.suite.validate import find_claim_mistakes, find_mistakes
from kdbench.toml import WRONG, Place, as_written, is_number, make, parse, values_at, with_new_keys

RENAMED_KEYS = {"reading": "report_epoch", "parts": "ghost_batches"}
"""Keys of older suites, and what they are called today."""
NESTED = ("suite", "recipe", "table", "rows", "delta")
"""The tables and lists in which such keys may stand, inside of each other too."""
RELEASED = "released weights are evaluated, not trained"
"""Why a row of released weights has no run."""
MOST_ROWS = 50_000
"""Of a suite; each may be wrong in several ways, all of which are reported."""


def load_suite(path: str | Path) -> Suite:
    """Read one suite, named by its path with or without `.toml`, or one of kdbench's own by its name.

    Raises:
        UserError: the file is missing or wrong; one sentence for each of its mistakes.
    """
    require("path", path, (str, Path), "the path or the name of a suite")
    file = find_file(Path(path))
    suite = read_suite(file, parse(file))
    return replace(suite, path=file.name) if file.parent == installed() else suite


def load_originals(suite: Suite) -> dict[str, Suite]:
    """The suites that its rows are copied from, beside it or by name; what is not there is left out.

    Raises:
        UserError: one of them is wrong.
    """
    found = {}
    for name in dict.fromkeys(row.copied_from for row in suite.rows if row.copied_from):
        beside = Path(suite.path).with_name(f"{name}.toml")
        file = beside if beside.is_file() else locate(Path(name))
        if file is not None:
            found[name] = load_suite(file)
    return found


def load_copies(suite: Suite) -> dict[str, Suite]:
    """The suites of its folder whose rows are copied from it, by name; one that cannot be read is left out.

    Only files in which the name of the suite stands beside `copied_from` are loaded.
    """
    path = Path(suite.path)
    folder = path.parent if path.is_file() else installed()
    found = {}
    for file in sorted(folder.glob("*.toml")):
        with suppress(OSError, UserError):
            content = file.read_bytes()
            if b"copied_from" not in content or suite.name.encode() not in content:
                continue
            other = load_suite(file)
            if any(row.copied_from == suite.name for row in other.rows):
                found[file.stem] = other
    return found


def read_suite(file: Path, content: Mapping[str, Any]) -> Suite:
    """The suite that a file's TOML is.

    Raises:
        UserError: it is wrong; one sentence for each of its mistakes.
    """
    _check_size(content, file)
    place = Place(str(file))
    suite = build(file, read_suite_file(_with_new_keys(content), place), place)
    find_mistakes(suite, place)
    find_claim_mistakes(suite, place)
    if place.problems:
        raise UserError(*place.problems)
    return suite


def _with_new_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    """A suite with today's keys in the place of older ones, at each level that a recipe may stand at."""
    renamed = {}
    for key, value in with_new_keys(content, RENAMED_KEYS).items():
        renamed[key] = _with_new_keys_inside(value) if key in NESTED else value
    return renamed


def _with_new_keys_inside(value: object) -> object:
    if isinstance(value, dict):
        return _with_new_keys(value)
    if isinstance(value, list):
        return [_with_new_keys_inside(each) for each in value]
    return value


def _check_size(content: Mapping[str, Any], file: Path) -> None:
    """Before each row is checked."""
    tables = content.get("table")
    lists = (
        [table.get("rows") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    )
    rows = sum(len(some) for some in lists if isinstance(some, list))
    if rows > MOST_ROWS or len(lists) > MOST_ROWS:
        raise UserError(f"{file}: {rows:,} rows in {len(lists):,} tables; at most {MOST_ROWS:,}: split it")


def find_file(path: Path) -> Path:
    """The file that a suite's name means.

    Raises:
        UserError: there is none; the message lists the suites beside it, in `suites/` and kdbench's
            own. Or it cannot be read.
    """
    if found := locate(path):
        return found
    if path.name:
        file = path.with_name(f"{path.name.removesuffix('.toml')}.toml")
        for folder in _folders(path):
            if problem := _unreadable(folder / file):
                raise UserError(problem)
        _check_no_folder(path)
    raise UserError(f"no such suite: {path}.{_what_there_is(path)}")


def _what_there_is(path: Path) -> str:
    """What lies beside a name that nothing has, in `suites/` and with kdbench, and the nearest of these."""
    folders = dict.fromkeys((path.parent, Path("suites"))) if path.parent != Path() else [Path("suites")]
    files = [file for folder in folders for file in sorted(folder.glob("*.toml"))]
    there = [str(file.with_suffix("")) for file in files if file.is_file()]
    own = sorted(file.stem for file in installed().glob("*.toml"))
    near = [name for name in (*there, *own) if Path(name).name == path.name.removesuffix(".toml")]
    near = near or _nearest(path, [*there, *own])
    guess = f" Did you mean {near[0]}?" if near else ""
    if there:
        return f"{guess} There are: {', '.join(there)}"
    return (
        f"{guess} There are none in {Path.cwd()}: go to the folder that has suites/, or `kdbench new suite "
        f"NAME` writes one; kdbench's own, by name: {', '.join(own)}"
    )


def _check_no_folder(path: Path) -> None:
    """Refuse a folder that holds suites, in the place of one of them.

    Raises:
        UserError: it is such a folder.
    """
    with suppress(OSError):  # a name too long for any file
        inside = [str(file.with_suffix("")) for file in sorted(path.glob("*.toml"))]
        if inside:
            all_of_it = f"{path}/*.toml names all of it"
            raise UserError(f"{path} is a folder; name a suite of it ({all_of_it}): {', '.join(inside)}")


def _nearest(path: Path, names: Sequence[str]) -> list[str]:
    """The suite whose own name is most like this one's; the folder that all have in common does not count."""
    by_name = {Path(name).name: name for name in reversed(names)}
    near = get_close_matches(path.name.removesuffix(".toml"), by_name, n=1, cutoff=0.5)
    return [by_name[name] for name in near]


def locate(path: Path) -> Path | None:
    """The file that a suite's name means, if there is one.

    A path is one from the current folder; a bare name may also mean a suite of `suites/` there, or else one
    of kdbench's own.
    """
    with suppress(OSError):  # a name too long for any file
        for folder in _folders(path):
            for name in (path, path.with_name(f"{path.name}.toml") if path.name else path):
                if (folder / name).is_file():
                    return folder / name
    return None


def _folders(path: Path) -> list[Path]:
    """Where a suite of this name is looked for, one after the other."""
    return [Path()] if len(path.parts) != 1 else [Path(), Path("suites"), installed()]


def _unreadable(file: Path) -> str:
    """Why a suite's file that is there cannot be read; "" where nothing is there."""
    try:
        return f"{file}: cannot be read: it is a folder" if file.is_dir() else link_to_nowhere(file)
    except OSError as error:
        return "" if error.errno == ENAMETOOLONG else f"{file}: cannot be read: {error.strerror}"


@cache
def installed() -> Path:
    """The folder of the suites that kdbench comes with: in its package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "suites"
    return inside if inside.is_dir() else package.parent / "suites"


def build(file: Path, written: SuiteFile, place: Place) -> Suite:
    """The rows of all tables, each with its recipe and loss made whole (suite < table < row)."""
    rows: list[Row] = []
    for number, table in enumerate(written.table, 1):
        rows += _rows(written, table, place.at(f"table {number} ({table.id})"))
    _check_assumed_std(written, place)
    head = written.suite
    return Suite(
        name=file.stem,
        path=str(file),
        paper=head.paper,
        arxiv=head.arxiv,
        code=head.code,
        dataset=head.dataset,
        teacher=head.teacher,
        teacher_seed=head.teacher_seed,
        rows=tuple(rows),
        deltas=tuple(written.delta),
        formulas=tuple(written.formula),
        claims=tuple(written.claim),
        imported=_imported(written, place),
    )


def _check_assumed_std(written: SuiteFile, place: Place) -> None:
    """A spread that nobody printed is worth what it was taken from."""
    levels: list[tuple[SuiteHead | TableFile, Place]] = [(written.suite, place.at("[suite]"))]
    levels += [(table, place.at(f"table {n} ({table.id})")) for n, table in enumerate(written.table, 1)]
    for level, at in levels:
        if level.assumed_std is not None and not level.assumed_std_source:
            at.report("assumed_std needs assumed_std_source: where the spread of one run is taken from")


def _imported(written: SuiteFile, place: Place) -> dict[str, Imported]:
    found: dict[str, Imported] = {}
    for each in written.imported:
        if each.name in found:
            place.report(f"two [[imported]] are named {each.name!r}")
        found[each.name] = Imported(each.model, each.sha256)
    return found


def _rows(written: SuiteFile, table: TableFile, place: Place) -> Iterator[Row]:
    """The rows of a table: suite < table < row. A row with a mistake is left out, its student in doubt."""
    recipe = {**written.recipe, **values_at(Recipe, table.recipe, place.at("recipe"))}
    loss = _loss_values(table.loss, place)
    whole = _recipe(recipe, place)
    margins = _tolerance(written.tolerance, place)
    for number, line in enumerate(table.rows, 1):
        here = place.at(f"row {number} ({line.student})")
        if line.gain_std is not None and line.gain is None:
            here.report("gain_std is the spread of a gain: add the gain, or leave gain_std out")
        own_recipe = values_at(Recipe, line.recipe, here.at("recipe"))
        own_margins = values_at(Tolerance, line.tolerance, here.at("tolerance"))
        if own_margins and "why" not in own_margins:
            here.at("tolerance").report('other margins than the suite\'s need a reason: add why = "..."')
        _check_errors(line, here)
        named = _loss({**loss, **_loss_values(line.loss, here)}, here if line.loss else place)
        teacher = _teacher(line.teacher, here)
        if named is None or (teacher is None and line.teacher is not None):
            place.doubts.add(line.student)
            continue
        yield _row(
            written,
            table,
            line,
            # what a line does not change is made, and its mistakes reported, once for the table
            _recipe({**recipe, **own_recipe}, place) if own_recipe else whole,
            named,
            _tolerance({**written.tolerance, **own_margins}, place) if own_margins else margins,
            teacher,
        )


_RECIPE = {"epochs": sys.maxsize, "batch_size": 1, "lr": 1.0, "gamma": 0.5}
"""Stands in for a recipe that is wrong; nothing else in the file can contradict it."""


def _recipe(values: Mapping[str, Any], place: Place) -> Recipe:
    # gamma has a default; it stands in only for one that is wrong, so that no milestone seems to do nothing.
    stand_in = {key: value for key, value in _RECIPE.items() if key != "gamma" or values.get(key) is WRONG}
    return make(Recipe, values, Place(place.path, "[recipe]", place.problems), stand_in)  # type: ignore[return-value]


def _tolerance(values: Mapping[str, Any], place: Place) -> Tolerance:
    here = Place(place.path, "[tolerance]", place.problems)
    return make(Tolerance, values, here, {"top1": 1.0, "gain": 1.0})  # type: ignore[return-value]


def _row(
    written: SuiteFile,
    table: TableFile,
    line: RowFile,
    recipe: Recipe,
    loss: Loss,
    tolerance: Tolerance,
    teacher: TeacherName | None,
) -> Row:
    """One line of a table, each of its parts resolved.

    Its name says what it is: `5.kd/mobilenetv2@200:resnet18+long` is the line of table 5.kd with student
    mobilenetv2, judged after epoch 200, teacher resnet18 and the label `long`.
    """
    report_epoch = line.report_epoch or table.report_epoch or written.suite.report_epoch
    if report_epoch == "best" and written.suite.best_on == "validation":
        report_epoch = "best_validation"
    at = f"@{report_epoch}" if isinstance(report_epoch, int) else ""
    taught = f":{line.teacher}" if line.teacher else ""
    label = f"+{line.label}" if line.label else ""
    return Row(
        name=f"{table.id}/{line.student}{at}{taught}{label}",
        table=table.id,
        student=line.student,
        teacher=teacher,
        recipe=recipe,
        loss=loss,
        seeds=line.seeds or table.seeds or written.suite.seeds,
        report_epoch=report_epoch,
        ties=written.suite.ties,
        tolerance=tolerance,
        reference=_reference(written.suite, table, line),
        over=line.over,
        teacher_row=line.teacher_row,
        sic=line.sic,
        assumed="; ".join(text for text in (table.assumed, line.assumed) if text),
        untrained=RELEASED if line.released else line.untrained or table.untrained,
        released=line.released or "",
        note=line.note,
        weights=Weights(*line.weights.split("@")) if line.weights else None,
        label=line.label,
        dataset="" if table.dataset == written.suite.dataset else table.dataset,
        teacher_dataset=table.teacher_dataset,
        copied_from=table.copied_from,
        mean=line.mean,
    )


def _check_errors(line: RowFile, place: Place) -> None:
    """A printed count of errors has its number of images, and is no more than that."""
    if line.errors is None and line.of is None:
        return
    if line.errors is None or line.of is None:
        lacks = "of = 10000: the number of test images"
        if line.errors is None:
            lacks = "errors = 74: how many of them"
        place.report(
            f"errors and of belong together: a count of errors, and of how many test images. Add {lacks}"
        )
    elif line.errors > line.of:
        place.report(
            f"errors = {line.errors} of = {line.of}: more errors than test images; is it a percentage?"
        )
    given = [name for name in ("top1", "std", "n") if getattr(line, name) is not None]
    if given:
        place.report(
            f"errors with {' and '.join(given)}: the accuracy and its error are made of the count; choose"
        )


def _printed_top1(line: RowFile) -> float | None:
    """The printed accuracy, in percent: 74 errors of 10,000 are 99.26."""
    if line.errors is None or line.of is None or line.errors > line.of:
        return line.top1
    return round(100 * (line.of - line.errors) / line.of, 10)


def _reference(head: SuiteHead, table: TableFile, line: RowFile) -> Reference:
    """What is printed of a row, and where no std is: how many runs it is taken to be, of which spread."""
    # `n` belongs to a printed std. A number without one has `printed_n`: of how many runs it is the mean, if
    # that is known for all such numbers of the paper, whose spread is then an assumed one.
    printed_n = table.printed_n or head.printed_n
    assumed = table if table.assumed_std is not None else head
    bare = line.std is None
    return Reference(
        top1=_printed_top1(line),
        errors=line.errors,
        of=line.of,
        std=line.std,
        n=printed_n if bare and line.gain_std is None else line.n or table.n or printed_n,
        assumed_std=assumed.assumed_std if bare else None,
        assumed_std_source=assumed.assumed_std_source if bare else "",
        gain=line.gain,
        gain_std=line.gain_std,
        kind=line.kind or table.kind,
        source=line.source or table.source,
    )


def _loss_values(written: Mapping[str, object], place: Place) -> dict[str, Any]:
    """The name and the parameters of a loss, as far as they stand here; a wrong one becomes `WRONG`."""
    values: dict[str, Any] = {}
    for key, value in written.items():
        good = isinstance(value, str) if key == "name" else is_number(value)
        if not good:
            lacks = "its name is text" if key == "name" else "a parameter of a loss is a finite number"
            place.report(f"loss.{key} is {as_written(value)}; {lacks}")
        values[key] = value if good else WRONG
    return values


def _loss(values: Mapping[str, Any], place: Place) -> Loss | None:
    """A loss of all its levels; None without a name."""
    if "name" not in values:
        place.report('the loss has no name; write for example loss = { name = "ce" }')
    if not isinstance(values.get("name"), str):
        return None
    given = sorted(values.keys() - {"name"})
    return Loss(values["name"], {key: 0.0 if values[key] is WRONG else float(values[key]) for key in given})


def _teacher(written: str | None, place: Place) -> TeacherName | None:
    """`resnet18@50` as a student and an epoch; None where there is none, or its epoch is no epoch."""
    if written is None:
        return None
    student, at, epoch = written.partition("@")
    if not at or epoch in ("last", "best"):
        return TeacherName(student, epoch or None)  # type: ignore[arg-type]
    if epoch.isascii() and epoch.isdigit() and int(epoch) > 0:
        return TeacherName(student, int(epoch))
    place.report(f"teacher {written!r}: after @ comes an epoch from 1, `best` or `last`")
    return None
