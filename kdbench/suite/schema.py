"""The form of a suite file, and how TOML becomes values with every mistake collected."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from kdbench.catalog import unknown
from kdbench.quantities import Count, Percent, Range, interval, ranges_of
from kdbench.spec.runs import Recipe, ReportEpoch, TeacherEpoch, Ties
from kdbench.spec.suites import (
    Claim,
    Delta,
    Formula,
    Images,
    Name,
    Note,
    Points,
    Spread,
    Text,
    Times,
    Tolerance,
)
from kdbench.spec.weights import Digest
from kdbench.toml import WRONG, Place, fields_of, make, struct_at, values_at

# (?!\n): Python's $ would let a newline follow.
Label = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.=-]{0,64}$(?!\n)")]
DatasetName = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$(?!\n)")]
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
    report_epoch: ReportEpoch = "last"
    ties: Ties = "latest"
    best_on: Literal["test", "validation"] = "test"
    teacher: TeacherEpoch = "last"
    seeds: Seeds = 1
    teacher_seed: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    printed_n: Times | None = None
    assumed_std: Spread | None = None
    assumed_std_source: Note = ""


class RowFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a table's `rows`: one printed cell."""

    student: Name
    teacher: TeacherText | None = None
    weights: WeightsText = ""
    released: Name | None = None
    top1: Percent | None = None
    std: Spread | None = None
    n: Times | None = None
    gain: Points | None = None
    gain_std: Spread | None = None
    errors: Count | None = None
    of: Images | None = None
    over: Note = ""
    teacher_row: Note = ""
    sic: bool = False
    kind: Kind | None = None
    seeds: Seeds | None = None
    report_epoch: ReportEpoch | None = None
    loss: Written = field(default_factory=dict)
    recipe: Written = field(default_factory=dict)
    tolerance: Written = field(default_factory=dict)
    source: Note = ""
    assumed: Note = ""
    untrained: Note = ""
    note: Note = ""
    label: Label = ""
    mean: tuple[Text, ...] = ()


class TableFile(Struct, frozen=True, kw_only=True):
    """`[[table]]`: a table of the paper, or the part of it that one loss made."""

    id: Name
    loss: Written
    rows: list[RowFile]
    source: Note = ""
    kind: Kind = "printed"
    seeds: Seeds | None = None
    n: Times | None = None
    printed_n: Times | None = None
    assumed_std: Spread | None = None
    assumed_std_source: Note = ""
    report_epoch: ReportEpoch | None = None
    recipe: Written = field(default_factory=dict)
    assumed: Note = ""
    untrained: Note = ""
    dataset: DatasetName = ""
    teacher_dataset: DatasetName = ""
    copied_from: DatasetName = ""


class ImportedFile(Struct, frozen=True, kw_only=True):
    """`[[imported]]`: a teacher of somebody else's, as `kdbench import` prints it."""

    name: Name
    model: Name
    sha256: Digest
    source: Note = ""


class SuiteFile(Struct, frozen=True, kw_only=True):
    """A whole file of `suites/`."""

    suite: SuiteHead
    recipe: Written
    table: list[TableFile]
    tolerance: Written = field(default_factory=dict)
    delta: list[Delta] = field(default_factory=list)
    formula: list[Formula] = field(default_factory=list)
    claim: list[Claim] = field(default_factory=list)
    imported: list[ImportedFile] = field(default_factory=list)


HINTS = {
    "suite": 'write [suite] with paper = "what it is about" and dataset = "digits" (`kdbench list datasets`)',
    "recipe": "write [recipe] with epochs = 100, batch_size = 32 and lr = 0.1: how a student is trained",
    "tolerance": "write [tolerance] with top1 = 0.5 and gain = 0.5: points that a number may be off",
    "table": 'write [[table]] with id = "1", loss = { name = "ce" } and rows = [{ student = "digits_mlp" }]',
}
"""What to write where a part of a suite is missing."""
LISTS: dict[str, tuple[type[Struct], str]] = {
    "delta": (Delta, "at"),
    "formula": (Formula, "name"),
    "imported": (ImportedFile, "name"),
    "claim": (Claim, "id"),
}
"""The lists beside the tables: of what their parts are made, and the key by which a part names itself."""
_HEAD = {"paper": "?", "dataset": ""}
"""Stands in for a `[suite]` that is wrong. No data set is named ""."""


def read_suite_file(content: Mapping[str, Any], place: Place) -> SuiteFile:
    """Make a SuiteFile of parsed TOML, saying each mistake; rows and tables that are wrong are left out."""
    known = fields_of(SuiteFile)
    for key in content:
        if key not in known:
            place.report(unknown("section", key, known))
    # A missing section beside one of a similar name is a slip of the pen, reported above.
    near = {name for key in content for name in get_close_matches(key, known, n=1, cutoff=0.5)}
    for name, info in known.items():
        needed = info.required or (name == "tolerance" and name not in content and _is_judged(content))
        if needed and (name not in near or content.get(name) == []):
            place.report(f"[{name}] is missing; {HINTS[name]}")
    parts: dict[str, list[Any]] = {"table": [_table(*each) for each in _each(content, "table", "id", place)]}
    for key, (kind, called) in LISTS.items():
        parts[key] = [struct_at(kind, each, at) for each, at in _each(content, key, called, place)]
    if None in parts["delta"] or None in parts["imported"] or not parts["table"]:
        place.doubts.add("*")
    whole: dict[str, list[Any]] = {}
    for key, some in parts.items():
        whole[key] = [each for each in some if each is not None]
    return SuiteFile(
        suite=make(SuiteHead, _section(SuiteHead, "suite", content, place), place.at("[suite]"), _HEAD),  # type: ignore[arg-type]
        **whole,
        recipe=_section(Recipe, "recipe", content, place),
        tolerance=_tolerance(content, place),
    )


def _tolerance(content: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The margins; where nothing is held against a reference, they may be left out."""
    if _is_judged(content):
        return _section(Tolerance, "tolerance", content, place)
    written = _section(Tolerance, "tolerance", content, place) if "tolerance" in content else {}
    return {"top1": 0.5, "gain": 0.5, **written}


def _is_judged(content: Mapping[str, Any]) -> bool:
    """Whether any row has a number to be held against."""
    for table in _listed(content, "table"):
        for row in _listed(table, "rows"):
            if isinstance(row, dict) and row.keys() & {"top1", "gain"}:
                return True
    return False


def _listed(content: object, key: str) -> list[object]:
    """A list of parsed TOML; none where something else stands there."""
    found = content.get(key) if isinstance(content, Mapping) else None
    return found if isinstance(found, list) else []


def _section(kind: type[Struct], name: str, content: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The values of a section; of a missing one, which was reported, all are `WRONG`."""
    if name not in content:
        return dict.fromkeys(fields_of(kind), WRONG)
    return values_at(kind, content[name], place.at(f"[{name}]"))


def _table(written: object, place: Place) -> TableFile | None:
    """A table with its rows; those with mistakes are left out, and their students are in doubt."""
    content = written if isinstance(written, dict) else {}
    rows = [(row, struct_at(RowFile, row, at)) for row, at in _each(content, "rows", "student", place)]
    table = struct_at(TableFile, {**content, "rows": []} if "rows" in content else written, place)
    if content.get("rows") == []:
        place.report("a table has at least one row")
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
        place.report(f"{key} is a list ([[{key}]]), not {parts!r:.80}")
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
    for kind in (Recipe, Tolerance, RowFile):
        for name, each in ranges_of(kind).items():
            _bound(definitions[kind.__name__]["properties"][name], each)
    for part in ("Recipe", "Tolerance"):
        definitions[part].pop("required", None)
    for name in ("Delta", "Formula"):
        where = definitions[name]["properties"]["where"]
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


def _bound(schema: dict[str, Any], given: Range) -> None:
    """Write a range into the JSON Schema of its number, which may be one of several kinds."""
    for each in schema.get("anyOf", [schema]):
        if each["type"] in ("integer", "number"):
            low, high, with_low, with_high = interval(given.valid)
            each.pop("minimum", None)
            each["minimum" if with_low else "exclusiveMinimum"] = low
            each["maximum" if with_high else "exclusiveMaximum"] = high
