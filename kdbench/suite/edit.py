"""A number read from a paper -> its row in the suite's file. Comments, order and every other line stay.

The loader reads the new text before it is written: a gain that does not add up, or any other mistake,
leaves the file as it was.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.errors import UserError
from kdbench.store.outputs import read_text, write_output
from kdbench.suite.load import read_suite

KEYS = ("top1", "std", "n", "gain", "gain_std", "over", "sic", "kind", "source")
"""What a row says of its number, as a person orders it: after student and teacher, before the rest."""
NUMBERS = ("top1", "std", "n", "gain", "gain_std")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def add_reference(path: Path, row: str, given: Mapping[str, str], *, replace: bool = False) -> str:
    """Write a number into its row.

    Args:
        path: a suite that loads.
        row: the name of one of its rows.
        given: some of `KEYS` with their values, as typed: `{"top1": "71.50", "source": "Table 2"}`.
        replace: also where the row has a number already.

    Returns:
        The row's new line.

    Raises:
        UserError: there is no number to add, the row has one already, or the suite would be wrong.
    """
    import tomlkit

    values = {key: _as_toml(key, text) for key, text in given.items()}
    if not {"top1", "gain"} & values.keys():
        raise UserError("nothing to add: give --top1, --gain or both")
    text = read_text(path)
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    document = tomlkit.parse(text.removeprefix(mark))
    at, number = _places(path, document.unwrap())[row]
    table: Any = document["table"][at]
    if not isinstance(table["rows"], tomlkit.items.Array):
        raise UserError(f"{path}: {row} is no line of `rows = [...]`; write it as one")
    there = {key: tomlkit.item(value).as_string() for key, value in table["rows"][number].items()}
    has = [f"{key} = {there[key]}" for key in ("top1", "gain") if key in there]
    if has and not replace:
        raise UserError(f"{path}: {row} has {', '.join(has)}; --replace puts the new number in its place")
    there = {key: text for key, text in there.items() if key not in (KEYS if has else ("kind",))}
    if values.get("kind") == f'"{table.get("kind", "printed")}"':
        del values["kind"]
    line = _line(there | values)
    table["rows"][number] = tomlkit.value(line)
    changed = tomlkit.dumps(document)
    read_suite(path, tomllib.loads(changed))
    write_output(path, (mark + changed).encode())
    return line


def _as_toml(key: str, text: str) -> str:
    """A value as typed, as it stands in the file: 71.50 keeps its digits."""
    import tomlkit

    if key == "sic" or (key in NUMBERS and NUMBER.fullmatch(text)):
        return text.removeprefix("+")
    if key in NUMBERS:
        option = f"--{key.replace('_', '-')}"
        raise UserError(f"{option} {text!r:.80}: expected a number as the paper prints it, such as 71.05")
    return tomlkit.string(text).as_string()


def _places(path: Path, content: Mapping[str, list[dict[str, list[object]]]]) -> dict[str, tuple[int, int]]:
    """Where each row stands: the number of its table, and its own in it."""
    places = [(at, each) for at, table in enumerate(content["table"]) for each in range(len(table["rows"]))]
    return dict(zip((row.name for row in read_suite(path, content).rows), places, strict=True))


def _line(parts: Mapping[str, str]) -> str:
    first = [key for key in ("student", "teacher", *KEYS) if key in parts]
    keys = [*first, *(key for key in parts if key not in first)]
    return "{ " + ", ".join(f"{key} = {parts[key]}" for key in keys) + " }"
