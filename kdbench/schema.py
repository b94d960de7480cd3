"""The form of a suite file, and how TOML becomes values with every mistake collected."""

import re
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import FieldInfo, fields, replace

from kdbench.catalog import unknown
from kdbench.errors import plain
from kdbench.spec import Percent, Positive, Reading, Recipe, Tolerance, Weight
from kdbench.weights import Digest

Text = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
Note = Annotated[str, Meta(max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
# (?!\n): Python's $ would let a newline follow.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")]
WeightsText = Annotated[str, Meta(pattern=r"^(timm/[A-Za-z0-9_.]{1,80}@[0-9a-f]{64})?$(?!\n)")]
TeacherText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,79}$(?!\n)")]
Seeds = Annotated[int, Meta(ge=1, le=10_000)]
Kind = Literal["printed", "measured", "second-hand"]
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
    seeds: Seeds = 1


class RowFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a table's `rows`: one printed cell."""

    student: Name
    teacher: TeacherText | None = None
    weights: WeightsText = ""
    top1: Percent | None = None
    std: Weight | None = None
    n: Positive | None = None
    gain: float | None = None
    over: Note = ""
    sic: bool = False
    kind: Kind | None = None
    seeds: Seeds | None = None
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
    kind: Kind = "printed"
    seeds: Seeds | None = None
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


class ImportedFile(Struct, frozen=True, kw_only=True):
    """`[[imported]]`: a teacher of somebody else's, as `kdbench import` prints it."""

    name: Name
    model: Name
    sha256: Digest
    source: Note = ""


class ClaimFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[claim]]`: what the paper concludes; one of `order`, `alike`, `improves` says from which rows."""

    id: Name
    says: Text
    section: Text
    order: tuple[Text, ...] = ()
    alike: tuple[Text, ...] = ()
    improves: tuple[Text, ...] = ()
    margin: Weight = 0.0
    note: Note = ""


class SuiteFile(Struct, frozen=True, kw_only=True):
    """A whole file of `suites/`."""

    suite: SuiteHead
    tolerance: Written
    recipe: Written
    table: list[TableFile]
    delta: list[DeltaFile] = field(default_factory=list)
    claim: list[ClaimFile] = field(default_factory=list)
    imported: list[ImportedFile] = field(default_factory=list)


class Place:
    """Where in a file we are, and the mistakes found so far; parts of a place share them.

    `doubts` holds the students of rows that could not be read, "*" for an unknown one: what is said
    about them elsewhere in the file would be wrong.
    """

    def __init__(
        self,
        path: str,
        inside: str = "",
        problems: dict[str, None] | None = None,
        doubts: set[str] | None = None,
    ) -> None:
        self.path, self.inside = path, inside
        self.problems: dict[str, None] = {} if problems is None else problems
        self.doubts: set[str] = set() if doubts is None else doubts

    def at(self, part: str) -> "Place":
        """A part of this place."""
        line = plain(part)
        return Place(self.path, f"{self.inside}, {line}" if self.inside else line, self.problems, self.doubts)

    def say(self, problem: str) -> None:
        """Record a mistake here, unless the same is recorded already."""
        self.problems[": ".join(text for text in (self.path, self.inside, problem) if text)] = None


T = TypeVar("T", bound=Struct)
WRONG: Any = object()
"""A value that was refused, so that what follows from it is not refused again."""


@cache
def _fields(kind: type[Struct]) -> dict[str, FieldInfo]:
    """msgspec reads them anew each time."""
    return {info.name: info for info in fields(kind)}


@cache
def _required(kind: type[Struct]) -> list[str]:
    return [name for name, info in _fields(kind).items() if info.required]


def struct_at(
    kind: type[T], written: object, place: Place, stand_in: Mapping[str, Any] | None = None
) -> T | None:
    """Make a struct of what was written, saying each mistake; None where there is one."""
    at_once = _at_once(kind, written)
    return at_once or make(kind, values_at(kind, written, place), place, stand_in)


def _at_once(kind: type[T], written: object) -> T | None:
    """The same in one conversion, several times faster, where nothing at all is wrong."""
    if not kind.__struct_config__.forbid_unknown_fields:
        return None
    try:
        made = msgspec.convert(written, kind)
    except msgspec.ValidationError:
        return None
    numbers = (
        [part for part in written.values() if isinstance(part, float)] if isinstance(written, dict) else []
    )
    return made if all(map(isfinite, numbers)) else None


def values_at(kind: type[Struct], written: object, place: Place) -> dict[str, Any]:
    """The values of a part, by key, each converted or `WRONG`, saying each mistake."""
    if not isinstance(written, dict):
        place.say(f"{written!r:.80} is no table of keys")
        return dict.fromkeys(_fields(kind), WRONG)
    known = _fields(kind)
    values = {key: _value(known[key], value, place) for key, value in written.items() if key in known}
    for key in written:
        if key not in known:
            place.say(unknown("key", key, known))
            for meant in get_close_matches(key, known, n=1, cutoff=0.5):
                values.setdefault(meant, WRONG)
    return values


def make(
    kind: type[T], values: Mapping[str, Any], place: Place, stand_in: Mapping[str, Any] | None = None
) -> T | None:
    """A struct of these values; None where a required one is missing, which is said, or one is `WRONG`.

    With `stand_in` it is made all the same, so that the rest of the file can be checked: from these
    values where others are lacking. No caller keeps it, since something was said.
    """
    lacking = [name for name in _required(kind) if name not in values]
    for name in lacking:
        place.say(f"{name} is missing")
    good = {key: value for key, value in values.items() if value is not WRONG}
    if stand_in is not None:
        return kind(**{key: value for key, value in stand_in.items() if key not in good}, **good)
    return None if lacking or len(good) < len(values) else kind(**good)


def _value(info: FieldInfo, written: object, place: Place) -> Any:  # noqa: ANN401 - of the field's type
    try:
        value = msgspec.convert(_plural(info, written), info.type)
    except msgspec.ValidationError as error:
        place.say(f"{info.name} = {written!r:.80}: {_plain(str(error), info.type)}")
        return WRONG
    parts = value.values() if info.name == "params" else [value]
    if any(isinstance(part, float) and not isfinite(part) for part in parts):
        place.say(f"{info.name} = {written!r:.80}: expected a finite number")
        return WRONG
    return value


def is_number(value: object) -> bool:
    """Whether it can be the parameter of a loss."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _plural(info: FieldInfo, written: object) -> object:
    """In `where`, one value may stand without its brackets."""
    if info.name != "where" or not isinstance(written, dict):
        return written
    return {key: [value] if isinstance(value, str) else value for key, value in written.items()}


_WORDS = {
    "`float`": "a number",
    "`int`": "a whole number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table of keys",
}
_CHOICE = re.compile(r"^Invalid enum value '?(.*?)'?( - at .*)?$")


def _plain(error: str, kind: object) -> str:
    """What msgspec says, in the words of TOML, with the valid values."""
    choice = _CHOICE.match(error)
    if choice is not None:
        return unknown("value", choice[1], [str(word) for word in _choices(kind)])
    if "matching regex" in error:
        if "timm/" in error:
            return (
                "expected timm/NAME@SHA256, the digest of their file, which `kdbench data weights timm/NAME` "
                "tells"
            )
        if "[0-9a-f]{64}" in error:
            return "expected a sha256, 64 digits of 0-9 and a-f"
        if "[A-Za-z0-9][A-Za-z0-9_." in error:
            return "expected a name of at most 64 letters, digits, _, . and -"
        return "expected text without control characters"
    for word, in_words in _WORDS.items():
        error = error.replace(word, in_words)
    return error[0].lower() + error[1:].replace("`", "'")


def _choices(kind: object) -> Iterator[object]:
    """The words of a type's literals."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
        return
    for part in get_args(kind):
        yield from _choices(part)


_HEAD = {"paper": "?", "dataset": ""}
"""Stands in for a `[suite]` that is wrong. No data set is named ""."""


def read_suite_file(content: Mapping[str, Any], place: Place) -> SuiteFile:
    """Make a SuiteFile of parsed TOML, saying each mistake; rows and tables that are wrong are left out."""
    known = _fields(SuiteFile)
    for key in content:
        if key not in known:
            place.say(unknown("section", key, known))
    near = {name for key in content for name in get_close_matches(key, known, n=1, cutoff=0.5)}
    for name, info in known.items():
        if info.required and (name not in near or content.get(name) == []):
            place.say(f"[{name}] is missing")
    tables = [_table(table, at) for table, at in _each(content, "table", "id", place)]
    deltas = [struct_at(DeltaFile, delta, at) for delta, at in _each(content, "delta", "at", place)]
    imported = [struct_at(ImportedFile, each, at) for each, at in _each(content, "imported", "name", place)]
    claims = [struct_at(ClaimFile, claim, at) for claim, at in _each(content, "claim", "id", place)]
    if None in deltas or None in imported or not tables:
        place.doubts.add("*")
    return SuiteFile(
        suite=make(SuiteHead, _section(SuiteHead, "suite", content, place), place.at("[suite]"), _HEAD),  # type: ignore[arg-type]
        table=[table for table in tables if table is not None],
        delta=[delta for delta in deltas if delta is not None],
        claim=[claim for claim in claims if claim is not None],
        imported=[each for each in imported if each is not None],
        recipe=_section(Recipe, "recipe", content, place),
        tolerance=_section(Tolerance, "tolerance", content, place),
    )


def _section(kind: type[Struct], name: str, content: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The values of a section; of one that is missing, which was said, all are `WRONG`."""
    if name not in content:
        return dict.fromkeys(_fields(kind), WRONG)
    return values_at(kind, content[name], place.at(f"[{name}]"))


def _table(written: object, place: Place) -> TableFile | None:
    content = written if isinstance(written, dict) else {}
    rows = [(row, struct_at(RowFile, row, at)) for row, at in _each(content, "rows", "student", place)]
    table = struct_at(TableFile, {**content, "rows": []} if "rows" in content else written, place)
    if content.get("rows") == []:
        place.say("a table has at least one row")
    if table is None:
        place.doubts.update([_student(raw) for raw, _ in rows] or ["*"])
        return None
    place.doubts.update(_student(raw) for raw, row in rows if row is None)
    return replace(table, rows=[row for _, row in rows if row is not None])


def _student(row: object) -> str:
    name = row.get("student") if isinstance(row, dict) else None
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]+", name) else "*"


def _each(content: Mapping[str, Any], key: str, called: str, place: Place) -> Iterator[tuple[object, Place]]:
    """The parts of a list, each with its place: its number and the name it gives itself."""
    parts = content.get(key, [])
    if not isinstance(parts, list):
        place.say(f"{key} is a list ([[{key}]]), not {parts!r:.80}")
        place.doubts.add("*")
        return
    word = "row" if key == "rows" else key
    for number, part in enumerate(parts, 1):
        name = part.get(called) if isinstance(part, dict) else None
        yield part, place.at(f"{word} {number}" + (f" ({name!s:.60})" if name else ""))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a suite file; a part of a recipe may stand at each level."""
    whole = msgspec.json.schema_components([SuiteFile, Recipe, Tolerance], ref_template="#/$defs/{name}")
    definitions: dict[str, Any] = whole[1]
    for part in ("Recipe", "Tolerance"):
        definitions[part].pop("required", None)
    where = definitions["DeltaFile"]["properties"]["where"]
    where["additionalProperties"] = {"anyOf": [{"type": "string"}, where["additionalProperties"]]}
    for owner in definitions.values():
        owner["additionalProperties"] = False
        for key, part in (("recipe", "Recipe"), ("tolerance", "Tolerance")):
            if key in owner.get("properties", {}):
                owner["properties"][key] = {"$ref": f"#/$defs/{part}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": "#/$defs/SuiteFile",
        "$defs": definitions,
    }
