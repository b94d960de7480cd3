"""What `kdbench check` does, and `report` begins with: stored results -> checks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdbench import equivalence
from kdbench.check import check_suite
from kdbench.claims import check_claims
from kdbench.errors import UserError
from kdbench.holm import adjust
from kdbench.machine import load_machine
from kdbench.report.claims import claim_lines
from kdbench.report.summary import lines
from kdbench.spec import Cell, Check, Reading, Result, Run, Suite
from kdbench.store import Index, index, load_failures, load_repeats, load_results
from kdbench.workload import Selection


class Judged(Struct, frozen=True):
    """A selection's rows, each held against its results."""

    chosen: Selection
    suites: list[tuple[Suite, list[Check]]]
    results: Mapping[str, Result]
    there: Index
    """The records that are stored."""


def judge(chosen: Selection) -> Judged:
    """Hold the chosen rows against what is stored.

    Raises:
        UserError: a suite or a stored result is wrong.
    """
    suites = chosen.load()
    if chosen.reading is not None:
        suites = [(suite, _read_at(cells, chosen.reading)) for suite, cells in suites]
    there = index(load_machine().results)
    ids = dict.fromkeys(name for _, cells in suites for cell in cells for name in _ids(cell))
    known = {name: run for _, cells in suites for cell in cells for name, run in _runs(cell)}
    results, repeats = load_results(there, ids, known), load_repeats(there, ids)
    failures = load_failures(there, there.failures)
    checked = [(suite, check_suite(cells, results, failures, repeats)) for suite, cells in suites]
    if chosen.precision != "float32":
        checked = [(suite, _cited(suite, checks, chosen)) for suite, checks in checked]
    return Judged(chosen, _adjusted(checked) if chosen.holm else checked, results, there)


def _read_at(cells: Iterable[Cell], reading: Reading) -> tuple[Cell, ...]:
    """The cells at another reading; what is printed of an epoch on the way stays there.

    Raises:
        UserError: no row trains so many epochs.
    """
    cells = tuple(cells)
    longest = max((cell.row.recipe.epochs for cell in cells), default=0)
    if isinstance(reading, int) and reading > longest:
        raise UserError(f"--reading {reading}: the rows train at most {longest} epochs")
    return tuple(
        cell if isinstance(cell.row.reading, int) else replace(cell, row=replace(cell.row, reading=reading))
        for cell in cells
    )


def _adjusted(checked: Sequence[tuple[Suite, list[Check]]]) -> list[tuple[Suite, list[Check]]]:
    """All that is judged is one family, whichever suites it comes from."""
    whole = iter(adjust(check for _, checks in checked for check in checks))
    return [(suite, [next(whole) for _ in checks]) for suite, checks in checked]


def _cited(suite: Suite, checks: list[Check], chosen: Selection) -> list[Check]:
    """Checks of numbers made in an inexact arithmetic, with the evidence that they may stand."""
    kept = equivalence.load_all(load_machine().results)
    return equivalence.cited(checks, equivalence.evidence(kept, chosen.precision, suite.dataset))


def _runs(cell: Cell) -> Iterator[tuple[str, Run]]:
    return zip(cell.ids, cell.runs, strict=True)


def _ids(cell: Cell) -> tuple[str, ...]:
    return (*cell.ids, *cell.baselines)


def table(judged: Judged) -> str:
    """The verdicts for a terminal."""
    return "\n\n".join("\n".join(_table(suite, checks)) for suite, checks in judged.suites)


def _table(suite: Suite, checks: list[Check]) -> list[str]:
    claims = claim_lines(check_claims(suite, checks))
    return [*lines(checks), *(["", *claims] if claims else [])]
