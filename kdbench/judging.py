"""What `kdbench check` and `report` do: stored results -> checks -> text."""

import shlex
from collections.abc import Iterator, Mapping

from msgspec import Struct

from kdbench import equivalence
from kdbench.audit import Audit, Prober, audit_suite, load_prober
from kdbench.check import check_suite
from kdbench.lint import lint_suite
from kdbench.machine import load_machine
from kdbench.report.markdown import render
from kdbench.report.summary import lines, summary
from kdbench.spec import Cell, Check, Result, Run, Suite
from kdbench.store import index, load_failures, load_repeats, load_results
from kdbench.workload import Selection


class Judged(Struct, frozen=True):
    """A selection's rows, each held against its results."""

    chosen: Selection
    suites: list[tuple[Suite, list[Check]]]
    results: Mapping[str, Result]


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
    if chosen.precision != "float32":
        checked = [(suite, _cited(suite, checks, chosen)) for suite, checks in checked]
    return Judged(chosen, checked, results)


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
    return "\n\n".join("\n".join(lines(checks)) for _, checks in judged.suites)


def report(judged: Judged, *, audit: bool = False) -> str:
    """The reports of all suites; `audit`: with what the losses do, for which torch is imported."""
    prober = load_prober() if audit else None
    return "\n".join(
        render(
            suite,
            checks,
            lint_suite(suite),
            form=judged.chosen.form,
            command=command(judged.chosen, suite),
            environment=environment(checks, judged.results),
            audit=_audit(judged.chosen, suite, prober) if prober else (),
        )
        for suite, checks in judged.suites
    )


def _audit(chosen: Selection, suite: Suite, prober: Prober) -> list[Audit]:
    return audit_suite(suite, chosen.cells(suite, chosen.rows), prober)


def summaries(judged: Judged) -> str:
    """One table per suite."""
    return "\n".join(summary(suite, checks) for suite, checks in judged.suites)


def environment(checks: list[Check], results: Mapping[str, Result]) -> dict[str, str]:
    """What the runs were trained with: each fact, with all its values where the runs differ."""
    found: dict[str, dict[str, None]] = {}
    for name in dict.fromkeys(name for check in checks for name in check.ids):
        for key, value in results[name].environment.items() if name in results else ():
            if key not in ("teacher", "commit", "dirty") and value is not None:
                found.setdefault(key, {})[str(value)] = None
    return {key: ", ".join(sorted(values)) for key, values in found.items()}


def command(chosen: Selection, suite: Suite) -> str:
    """The command that trains and reports the same rows again."""
    words = ["kdbench", "run", suite.path.removesuffix(".toml")]
    if chosen.rows != "*":
        words += ["--rows", chosen.rows]
    if chosen.seeds is not None:
        words += ["--seeds", ",".join(map(str, chosen.seeds))]
    if chosen.form != "released":
        words += ["--as", chosen.form]
    for key, value in chosen.settings.items():
        words += ["--set", f"{key}={value}"]
    if chosen.precision != "float32":
        words += ["--precision", chosen.precision]
    if chosen.smoke:
        words.append("--smoke")
    return shlex.join(words)
