"""The form of a suite file, and how TOML becomes values with every mistake collected."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import FieldInfo, fields, replace

from kdbench.catalog import unknown
from kdbench.spec import Percent, Positive, Reading, Recipe, Tolerance, Weight

Text = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Note = Annotated[str, Meta(max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
TeacherText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,79}$")]
Written = dict[str, Any]
"""A part of a recipe, loss or tolerance as it stands in the file, before the levels are joined."""


class SuiteHead(Struct, frozen=True, kw_only=True):
    """`[suite]`: which paper, which data set, which point of a curve is compared."""

    paper: Text
    dataset: Name
    arxiv: Note = ""
    code: Note = ""
    reading: Reading = "last"
    teacher: Reading = "last"
    seeds: Positive = 1


class RowFile(Struct, frozen=True, kw_only=True):
    """One line of a table's `rows`: one printed cell."""

    student: Name
    teacher: TeacherText | None = None
    top1: Percent | None = None
    std: Weight | None = None
    n: Positive | None = None
    gain: float | None = None
    sic: bool = False
    seeds: Positive | None = None
    reading: Reading | None = None
    loss: Written = field(default_factory=dict)
    recipe: Written = field(default_factory=dict)
    tolerance: Written = field(default_factory=dict)
    source: Note = ""
    assumed: Note = ""
    note: Note = ""


class TableFile(Struct, frozen=True, kw_only=True):
    """`[[table]]`: a table of the paper, or the part of it that one loss made."""

    id: Name
    loss: Written
    rows: list[RowFile]
    source: Note = ""
    kind: Literal["printed", "measured", "second-hand"] = "printed"
    seeds: Positive | None = None
    n: Positive | None = None
    reading: Reading | None = None
    recipe: Written = field(default_factory=dict)
    assumed: Note = ""


class DeltaFile(Struct, frozen=True, kw_only=True):
    """`[[delta]]`: what the authors' code does instead of what the paper prints."""

    at: Text
    why: Text
    where: dict[Literal["table", "student", "teacher", "loss"], tuple[str, ...]] = field(default_factory=dict)
    recipe: Written = field(default_factory=dict)
    loss: dict[str, str] = field(default_factory=dict)
    params: dict[str, float] = field(default_factory=dict)
    teacher: Reading | None = None


class SuiteFile(Struct, frozen=True, kw_only=True):
    """A whole file of `suites/`."""

    suite: SuiteHead
    tolerance: Written
    recipe: Written
    table: list[TableFile]
    delta: list[DeltaFile] = field(default_factory=list)


class Place:
    """Where in a file we are, and the mistakes found so far; parts of a place share one list."""

    def __init__(self, path: str, inside: str = "", problems: list[str] | None = None) -> None:
        self.path, self.inside = path, inside
        self.problems: list[str] = [] if problems is None else problems

    def at(self, part: str) -> "Place":
        """A part of this place."""
        return Place(self.path, f"{self.inside}, {part}" if self.inside else part, self.problems)

    def say(self, problem: str) -> None:
        """Record a mistake here."""
        self.problems.append(": ".join(text for text in (self.path, self.inside, problem) if text))


T = TypeVar("T", bound=Struct)


def struct_at(kind: type[T], written: Mapping[str, object], place: Place) -> T | None:
    """Make a struct of what was written, saying each mistake.

    A wrong or unknown optional key is left out, so that what follows from the rest is checked too;
    None where a required key is missing or wrong. No caller goes on once anything was said.
    """
    known = {info.name: info for info in fields(kind)}
    for key in written.keys() - known.keys():
        place.say(unknown("key", key, known))
    values = {key: _value(info, written[key], place) for key, info in known.items() if key in written}
    good = {key: value for key, value in values.items() if value is not _WRONG}
    for name, info in known.items():
        if info.required and name not in written:
            place.say(f"{name} is missing")
    return kind(**good) if all(name in good or not info.required for name, info in known.items()) else None


_WRONG = object()


def _value(info: FieldInfo, written: object, place: Place) -> object:
    try:
        return msgspec.convert(_plural(info, written), info.type)
    except msgspec.ValidationError as error:
        place.say(f"{info.name} = {written!r:.80}: {_plain(str(error))}")
        return _WRONG


def _plural(info: FieldInfo, written: object) -> object:
    """In `where`, one value may stand without its brackets."""
    if info.name != "where" or not isinstance(written, dict):
        return written
    return {key: [value] if isinstance(value, str) else value for key, value in written.items()}


def _plain(error: str) -> str:
    return error[0].lower() + error[1:].replace("`", "'")


def read_suite_file(content: Mapping[str, Any], place: Place) -> SuiteFile | None:
    """Make a SuiteFile of parsed TOML, saying each mistake; None where there is no [suite] to speak of."""
    known = {info.name: info for info in fields(SuiteFile)}
    for key in content.keys() - known.keys():
        place.say(unknown("section", key, known))
    for name, info in known.items():
        if info.required and name not in content:
            place.say(f"[{name}] is missing")
    head = _part(SuiteHead, content.get("suite", {}), place.at("[suite]"))
    tables = [_table(table, at) for table, at in _each(content, "table", "id", place)]
    deltas = [_part(DeltaFile, delta, at) for delta, at in _each(content, "delta", "at", place)]
    levels = {key: _mapping(content.get(key, {}), place.at(f"[{key}]")) for key in ("recipe", "tolerance")}
    if head is None:
        return None
    return SuiteFile(
        suite=head,
        table=[table for table in tables if table is not None],
        delta=[delta for delta in deltas if delta is not None],
        **levels,
    )


def _table(written: object, place: Place) -> TableFile | None:
    content = _mapping(written, place)
    rows = [_part(RowFile, row, at) for row, at in _each(content, "rows", "student", place)]
    table = _part(TableFile, {**content, "rows": []}, place)
    if not rows:
        place.say("a table has at least one row")
    return replace(table, rows=[row for row in rows if row is not None]) if table else None


def _each(content: Mapping[str, Any], key: str, called: str, place: Place) -> Iterator[tuple[object, Place]]:
    """The parts of a list, each with its place: its number and the name it gives itself."""
    parts = content.get(key, [])
    if not isinstance(parts, list):
        place.say(f"{key} is a list ([[{key}]]), not {type(parts).__name__}")
        return
    word = "row" if key == "rows" else key
    for number, part in enumerate(parts, 1):
        name = part.get(called) if isinstance(part, dict) else None
        yield part, place.at(f"{word} {number}" + (f" ({name!s:.60})" if name else ""))


def _part(kind: type[T], written: object, place: Place) -> T | None:
    return struct_at(kind, _mapping(written, place), place)


def _mapping(written: object, place: Place) -> dict[str, Any]:
    if isinstance(written, dict):
        return written
    place.say(f"{written!r:.80} is no table of keys")
    return {}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a suite file; a part of a recipe may stand at each level."""
    whole = msgspec.json.schema_components([SuiteFile, Recipe, Tolerance], ref_template="#/$defs/{name}")
    definitions: dict[str, Any] = whole[1]
    for part in ("Recipe", "Tolerance"):
        definitions[part].pop("required", None)
    for owner in definitions.values():
        for key, part in (("recipe", "Recipe"), ("tolerance", "Tolerance")):
            if key in owner.get("properties", {}):
                owner["properties"][key] = {"$ref": f"#/$defs/{part}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": "#/$defs/SuiteFile",
        "$defs": definitions,
    }
