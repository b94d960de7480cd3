"""What `kdbench check` does, and `report` begins with: stored results -> checks."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from kdbench.check import check_suite
from kdbench.machine import load_machine
from kdbench.report.summary import lines
from kdbench.spec import Cell, Check, Result, Run, Suite
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
    there = index(load_machine().results)
    ids = dict.fromkeys(name for _, cells in suites for cell in cells for name in _ids(cell))
    known = {name: run for _, cells in suites for cell in cells for name, run in _runs(cell)}
    results, repeats = load_results(there, ids, known), load_repeats(there, ids)
    failures = load_failures(there, there.failures)
    checked = [(suite, check_suite(cells, results, failures, repeats)) for suite, cells in suites]
    return Judged(chosen, checked, results, there)


def _runs(cell: Cell) -> Iterator[tuple[str, Run]]:
    return zip(cell.ids, cell.runs, strict=True)


def _ids(cell: Cell) -> tuple[str, ...]:
    return (*cell.ids, *cell.baselines)


def table(judged: Judged) -> str:
    """The verdicts for a terminal."""
    return "\n\n".join("\n".join(lines(checks)) for _, checks in judged.suites)
