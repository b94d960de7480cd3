"""What `kdbench equivalence` does: a row -> runs in both precisions -> results -> a test that is kept."""

from glob import escape
from pathlib import Path

from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.plan.lookup import find_trained_row
from kdbench.plan.selection import Selection, parse_seeds, parse_settings
from kdbench.run import local, preflight
from kdbench.spec.runs import Precision
from kdbench.spec.suites import Variant
from kdbench.store.records import index, load_results
from kdbench.verdict.equivalence import Equivalence, equivalence_of, save


def prove(
    of: Precision,
    row: str,
    variant: Variant,
    *,
    seeds: str | None,
    settings: tuple[str, ...] = (),
    offline: bool = False,
) -> tuple[Equivalence, Path]:
    """Train a row in float32 and in another precision, and keep the test of the two.

    Raises:
        UserError: there is no such row, fewer than two seeds, or a run fails.
    """
    suite, found = find_trained_row(row, variant)
    chosen = Selection(
        suites=(suite.path,),
        rows=escape(found.row.name),
        seeds=parse_seeds(seeds) if seeds is not None else None,
        variant=variant,
        settings=parse_settings(settings),
    )
    ways = [replace(chosen, precision=precision) for precision in ("float32", of)]
    exact, inexact = (way.load()[0][1][0] for way in ways)
    if len(exact.runs) < 2:
        raise UserError(f"{row}: a paired test needs two seeds or more; write --seeds 0-2")
    machine = preflight.this_machine(offline=offline)
    for way in ways:
        local.train(way, machine, local.RunOptions())
    results = load_results(index(machine.results), (*exact.ids, *inexact.ids))
    record = replace(equivalence_of(suite, exact, inexact, results), settings=dict(chosen.settings))
    return record, save(machine.results, record, exact.runs[0].slug)
