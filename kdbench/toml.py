"""Reading TOML that a person wrote: one clear error instead of a traceback."""

import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from kdbench.catalog import unknown
from kdbench.errors import UserError, git_hint, plain
from kdbench.quantities import ranges_of

LARGEST_FILE = 10_000_000
"""Bytes; a suite of 10,000 rows has about a million."""


def parse(file: Path) -> dict[str, Any]:
    """The TOML of a file, as it stands.

    Raises:
        UserError: unreadable, too large, or not TOML (with line and column).
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise UserError(f"{file}: larger than {LARGEST_FILE:,} bytes; split it")
        content = file.read_bytes()
        return tomllib.loads(content.decode("utf-8-sig"))  # -sig: editors of Windows write a mark
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text: {error}; save it as UTF-8") from error
    except ValueError as error:  # tomllib.TOMLDecodeError, or a number of thousands of digits
        hint = git_hint(content) or f"{error}{_comma_hint(content, error)}"
        raise UserError(f"{file}: not valid TOML: {hint}") from error
    except RecursionError as error:
        raise UserError(f"{file}: not valid TOML: nested too deep") from error


def _comma_hint(content: bytes, error: ValueError) -> str:
    """`; line 3 lacks a comma at its end?`, where an array's next part begins on the line of the error."""
    # tomllib names the line at which it could not go on; the comma lacks on the last line of code before it.
    found = re.search(r"^Unclosed array \(at line (\d+)", str(error))
    lines = content.decode("utf-8-sig").splitlines()
    for number in range(int(found[1]) - 1 if found else 0, 0, -1):
        code = lines[number - 1].partition(" #")[0].strip()
        if code and not code.startswith("#"):
            follows = lines[int(found[1]) - 1].strip()[:1] if found and int(found[1]) <= len(lines) else ""
            lacks = code.endswith(("}", '"', "]")) and follows in tuple('{"[')
            return f"; line {number} lacks a comma at its end?" if lacks else ""
    return ""


class Place:
    """Where in a file we are, and the mistakes found so far; parts of a place share them.

    `doubts` holds the students of rows that could not be read, "*" for an unknown one: what is reported
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

    def report(self, problem: str) -> None:
        """Report a mistake here, unless the same is reported already."""
        self.problems[": ".join(text for text in (self.path, self.inside, problem) if text)] = None

    def report_all(self, problems: Iterable[str]) -> None:
        """Report several mistakes here."""
        for problem in problems:
            self.report(problem)


T = TypeVar("T", bound=Struct)
WRONG: Any = object()
"""A value that was refused, so that what follows from it is not refused again."""


@cache
def fields_of(kind: type[Struct]) -> dict[str, FieldInfo]:
    """msgspec reads them anew each time."""
    return {info.name: info for info in fields(kind)}


@cache
def _required(kind: type[Struct]) -> list[str]:
    return [name for name, info in fields_of(kind).items() if info.required]


def with_new_keys(written: Any, renamed: Mapping[str, str]) -> Any:  # noqa: ANN401 - as TOML has it
    """A table with today's keys in the place of those of older files.

    A key whose new name is there too stays, and is refused as any unknown key is.
    What is no table stays as it is.
    """
    if not isinstance(written, Mapping):
        return written
    return {
        key if renamed.get(key, key) in written else renamed[key]: value for key, value in written.items()
    }


def sections_at(
    kinds: Mapping[str, type[Struct]],
    content: Mapping[str, Any],
    place: Place,
    *,
    renamed: Mapping[str, str],
    others: Collection[str] = (),
) -> dict[str, Any]:
    """Make the sections of a file, saying each mistake, and each section that it may not have.

    Args:
        kinds: by its name, what a section is made of; of one that is absent, all its defaults.
        content: the whole file.
        place: of the file.
        renamed: keys of older files, and what they are called today.
        others: names that may stand beside the sections.
    """
    known = [*kinds, *others]
    for key in content:
        if key not in known:
            place.report(unknown("section", key, known))
    found = {}
    for name, kind in kinds.items():
        written = with_new_keys(content.get(name, {}), renamed)
        found[name] = struct_at(kind, written, place.at(f"[{name}]"))
    return found


def struct_at(kind: type[T], written: object, place: Place) -> T | None:
    """Make a struct of what was written, saying each mistake; None where there is one."""
    return _at_once(kind, written) or make(kind, values_at(kind, written, place), place)


def _at_once(kind: type[T], written: object) -> T | None:
    """The same in one conversion, several times faster, where nothing at all is wrong."""
    if not kind.__struct_config__.forbid_unknown_fields:
        return None
    try:
        made = msgspec.convert(written, kind)
    except msgspec.ValidationError:
        return None
    values: dict[str, object] = written if isinstance(written, dict) else {}
    finite = all(isfinite(value) for value in values.values() if isinstance(value, float))
    outside = any(each.mistake(name, values.get(name)) for name, each in ranges_of(kind).items())
    return made if finite and not outside else None


def values_at(kind: type[Struct], written: object, place: Place) -> dict[str, Any]:
    """The values of a part, by key, each converted or `WRONG`, saying each mistake."""
    if not isinstance(written, dict):
        place.report(_no_table(written))
        return dict.fromkeys(fields_of(kind), WRONG)
    known = fields_of(kind)
    ranges = ranges_of(kind)
    values = {key: _value(known[key], value, place) for key, value in written.items() if key in known}
    for key in values.keys() & ranges.keys():
        mistake = ranges[key].mistake(key, values[key])
        if mistake is not None:
            place.report(mistake)
            values[key] = WRONG
    for key in written:
        if key not in known:
            place.report(unknown("key", key, known))
            # `epoch = 200` was meant as epochs: that epochs is missing would be a second word on one mistake.
            for meant in get_close_matches(key, known, n=1, cutoff=0.5):
                values.setdefault(meant, WRONG)
    return values


def _no_table(written: object) -> str:
    """What is wrong with something that stands where a table of keys does."""
    if isinstance(written, list) and written and all(isinstance(each, dict) for each in written):
        return "expected one table, got a list of tables; its head goes in single brackets"
    return f"{as_written(written)} is no table of keys"


def as_written(value: object) -> str:
    """A value in an error message as TOML has it, cut after 80 characters: `true` for Python's True."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{text:.80}"


EXAMPLES = {
    "paper": 'paper = "what it is about"',
    "dataset": 'dataset = "digits", or another of `kdbench list datasets`',
    "epochs": "epochs = 100",
    "batch_size": "batch_size = 32",
    "lr": "lr = 0.1, the learning rate",
    "top1": "top1 = 0.5: points that an accuracy may be off",
    "gain": "gain = 0.5: points that a gain may be off",
    "student": 'student = "digits_mlp", or another of `kdbench list models`',
    "loss": 'loss = { name = "ce" }, or another of `kdbench list losses`',
    "rows": 'rows = [{ student = "digits_mlp" }]',
    "id": 'id = "1", as the paper numbers it',
    "at": 'at = "train.py:14", the place in the released code',
    "why": 'why = "...", the reason in a sentence',
    "of": 'of = "...", what the formula is of',
    "says": 'says = "...", the conclusion in the words of the paper',
    "name": 'name = "..."',
    "model": 'model = "resnet18", or another of `kdbench list models`',
    "sha256": 'sha256 = "...", the digest that `kdbench import` prints',
}
"""What to write where a required key is missing."""


def make(
    kind: type[T], values: Mapping[str, Any], place: Place, stand_in: Mapping[str, Any] | None = None
) -> T | None:
    """A struct of these values; None where a required one is missing, which is reported, or one is `WRONG`.

    With `stand_in` it is made all the same, so that the rest of the file can be checked: from these
    values where others are lacking. No caller keeps it, since a problem was reported.
    """
    lacking = [name for name in _required(kind) if name not in values]
    for name in lacking:
        place.report(f"{name} is missing" + (f"; write {EXAMPLES[name]}" if name in EXAMPLES else ""))
    good = {key: value for key, value in values.items() if value is not WRONG}
    if stand_in is not None:
        return kind(**{key: value for key, value in stand_in.items() if key not in good}, **good)
    return None if lacking or len(good) < len(values) else kind(**good)


def _value(info: FieldInfo, written: object, place: Place) -> Any:  # noqa: ANN401 - of the field's type
    try:
        value = msgspec.convert(_with_brackets(info, written), info.type)
    except msgspec.ValidationError as error:
        place.report(f"{info.name} = {as_written(written)}: {_plain(str(error), info.type)}")
        return WRONG
    parts = value.values() if info.name == "params" else [value]
    if any(isinstance(part, float) and not isfinite(part) for part in parts):
        place.report(f"{info.name} = {written!r:.80}: expected a finite number")
        return WRONG
    return value


def is_number(value: object) -> bool:
    """Whether it can be the parameter of a loss."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _with_brackets(info: FieldInfo, written: object) -> object:
    """In `where`, one value may stand without its brackets."""
    if info.name != "where" or not isinstance(written, dict):
        return written
    return {key: [value] if isinstance(value, str) else value for key, value in written.items()}


_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table of keys",
}
_PATTERNS = {
    "timm/": "timm/NAME@SHA256, the digest of their file, which `kdbench data weights timm/NAME` prints",
    "[0-9a-f]{64}": "a sha256, 64 digits of 0-9 and a-f",
    "[A-Za-z0-9][A-Za-z0-9_.": "a name of at most 64 letters, digits, _, . and -",
    "|cpu|": "auto, cpu, cuda or one GPU by its number, such as cuda:1",
}
"""By a part of a regular expression that text must match: what is expected, in words."""
_CHOICE = re.compile(r"^Invalid enum value '?(.*?)'?( - at .*)?$")


def _plain(error: str, kind: object) -> str:
    """What msgspec says, in the words of TOML, with the valid values."""
    choice = _CHOICE.match(error)
    if choice is not None:
        return unknown("value", choice[1], [str(word) for word in _choices(kind)])
    if "matching regex" in error:
        meant = (words for part, words in _PATTERNS.items() if part in error)
        return f"expected {next(meant, 'text without control characters')}"
    error = re.sub(r" - at `\$[^`]*`", "", error)  # a place inside of the value, in msgspec's own notation
    error = re.sub("`([^`]*)`", lambda found: _kinds(found[1]), error)
    return error[0].lower() + error[1:]


def _kinds(named: str) -> str:
    """msgspec's name of one or several kinds of value in words: `str | null` is text, as TOML has no null."""
    kinds = [kind for kind in named.split(" | ") if kind != "null"]
    return " or ".join(_WORDS.get(kind, f"'{kind}'") for kind in kinds)


def _choices(kind: object) -> Iterator[object]:
    """The words of a type's literals."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
        return
    for part in get_args(kind):
        yield from _choices(part)
