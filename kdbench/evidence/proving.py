"""What `kdbench equivalence` does: a row -> runs in both precisions -> results -> a test that is kept."""

from glob import escape
from pathlib import Path

from msgspec.structs import replace

from kdbench import running
from kdbench.address import find_row
from kdbench.errors import UserError
from kdbench.evidence.equivalence import Equivalence, compare, save
from kdbench.machine import load_machine
from kdbench.spec import Form, Precision
from kdbench.store import index, load_results
from kdbench.workload import Selection, parse_seeds, parse_settings


def prove(
    of: Precision,
    row: str,
    form: Form,
    *,
    seeds: str | None,
    settings: tuple[str, ...] = (),
    offline: bool = False,
) -> tuple[Equivalence, Path]:
    """Train a row in float32 and in another precision, and keep the test of the two.

    Raises:
        UserError: there is no such row, fewer than two seeds, or a run fails.
    """
    suite, found = find_row(row, form)
    chosen = Selection(
        suites=(suite.path,),
        rows=escape(found.row.name),
        seeds=parse_seeds(seeds) if seeds is not None else None,
        form=form,
        settings=parse_settings(settings),
    )
    ways = [replace(chosen, precision=precision) for precision in ("float32", of)]
    exact, inexact = (way.load()[0][1][0] for way in ways)
    if len(exact.runs) < 2:
        raise UserError(f"{row}: a paired test needs two seeds or more; write --seeds 0-2")
    for way in ways:
        running.train(way, on="local", offline=offline)
    machine = load_machine()
    results = load_results(index(machine.results), (*exact.ids, *inexact.ids))
    record = replace(compare(suite, exact, inexact, results), settings=dict(chosen.settings))
    return record, save(machine.results, record, exact.runs[0].slug)
