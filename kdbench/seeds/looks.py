"""Plans of looks <-> results/looks/: which rows are looked at after each seed, written before the first.

results/looks/ID.json     of the row whose run of seed 0 has this id
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from kdbench.errors import UserError
from kdbench.seeds.sequential import Looks, levels
from kdbench.spec import Cell
from kdbench.store import write

FOLDER = "looks"


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is looked at after each seed: its plan and its runs, the first `most` seeds'."""

    row: str
    looks: Looks
    runs: tuple[str, ...]


def load_looks(results: Path) -> dict[str, Looks]:
    """The plans there are, by the id of each run that they concern.

    Raises:
        UserError: a file is broken; all of them at once.
    """
    found: dict[str, Looks] = {}
    problems = []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            planned = msgspec.json.decode(path.read_bytes(), type=Planned)
            found |= dict.fromkeys(planned.runs, planned.looks)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(f"{path}: no valid plan of looks: {error}; take it from a backup")
    if problems:
        raise UserError(*problems)
    return found


def files_of(results: Path, runs: Iterable[str]) -> dict[str, bytes]:
    """The files of the plans that concern any of these runs, by their name in a bundle of evidence."""
    load_looks(results)  # says which are broken
    asked = set(runs)
    files = {path: path.read_bytes() for path in sorted((results / FOLDER).glob("*.json"))}
    return {
        f"results/{FOLDER}/{path.name}": content
        for path, content in files.items()
        if asked & set(msgspec.json.decode(content, type=Planned).runs)
    }


def levels_of(planned: Mapping[str, Looks]) -> dict[str, Mapping[int, float]]:
    """The levels of each run's looks, as `check_suite` takes them."""
    return {run: levels(looks) for run, looks in planned.items()}


def record(results: Path, cells: Iterable[Cell], looks: Looks) -> None:
    """Write down, before the first look, how often these rows will be looked at; a plan there is stays.

    Args:
        results: the folder of the results.
        cells: the rows, with the runs of `looks.most` seeds.
        looks: the plan.

    Raises:
        UserError: a row has another plan, which cannot be changed once it was looked at.
    """
    there = load_looks(results)
    cells = list(cells)
    other = {cell.row.name: there[of] for cell in cells for of in cell.ids if there.get(of, looks) != looks}
    if other:
        name, plan = next(iter(other.items()))
        raise UserError(
            f"{name}{f' and {len(other) - 1} more rows' if len(other) > 1 else ''}: planned for at most "
            f"{plan.most} seeds, and a plan cannot be changed after the first look; write --most {plan.most}"
        )
    for cell in cells:
        if cell.ids and cell.ids[0] not in there:
            planned = Planned(row=cell.row.name, looks=looks, runs=cell.ids)
            content = msgspec.json.format(msgspec.json.encode(planned), indent=1) + b"\n"
            write(results / FOLDER / f"{cell.ids[0]}.json", content)
