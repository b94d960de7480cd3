"""Plain text for a terminal: verdicts, one row, rows, findings, the catalog."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from kdbench import catalog
from kdbench.formatting import clean, columns, number, plural
from kdbench.report.claims import claim_lines
from kdbench.report.controls import control_lines
from kdbench.report.overview import counts_by_kind, footnotes
from kdbench.report.published import published_lines
from kdbench.report.sentences import altered
from kdbench.report.summary import lines
from kdbench.report.words import measured, report_epoch
from kdbench.spec.runs import Loss, Recipe, Run
from kdbench.spec.suites import Cell, Row, Suite
from kdbench.spec.verdicts import Check
from kdbench.suite.deltas import loss_read_by
from kdbench.suite.lint import Finding
from kdbench.verdict.check import BAD, headline, to_train
from kdbench.verdict.claims import check_claims
from kdbench.verdict.judge import Judged
from kdbench.verdict.published import published_headline


def table(judged: Judged) -> str:
    """The verdicts for a terminal."""
    texts = ["\n".join(_table(judged, suite, checks)) for suite, checks in judged.suites]
    return "\n\n".join(filter(None, [altered(judged.chosen.altered), *texts]))


def _table(judged: Judged, suite: Suite, checks: list[Check]) -> list[str]:
    parts = (
        [*lines(checks), *filter(None, [judged.further.get(suite.path)])],
        control_lines(judged.controls.get(suite.path, [])),
        claim_lines(check_claims(suite, checks)),
        published_lines(suite, checks),
    )
    # An empty line between parts, and none before the first.
    return [line for part in parts if part for line in ("", *part)][1:]


def blocks(suites: Sequence[tuple[Suite, list[Check]]]) -> str:
    """For `check --all`: of each suite what is counted and what is off, and last a line on all of them."""
    found = ["\n".join(_block(suite, checks)) for suite, checks in suites]
    every = [check for _, checks in suites for check in checks]
    counted = [f"{kind}: {text}" for kind, text in counts_by_kind(every).items() if str(text)]
    last = "; ".join([plural(len(suites), "suite") + " with evidence", *counted]) + "."
    return "\n\n".join([*found, "\n".join([last, *footnotes(every)])])


def _block(suite: Suite, checks: Sequence[Check]) -> Iterator[str]:
    yield f"{suite.address}: {clean(suite.paper)}"
    if any(check.values for check in checks):
        yield f"  {headline(checks)}"
    if theirs := published_headline(checks):
        yield f"  {theirs}"
    for check in to_train(checks):
        for what, verdict in (("", check.top1), ("gain ", check.gain)):
            if verdict.word in BAD:
                figures = f"{what}{measured(verdict)} against {number(verdict.printed)}"
                yield f"  {verdict.word}: {clean(check.row.name)}, {figures}"


def describe_row(suite: Suite, cell: Cell, variant: str, copies: Sequence[str] = ()) -> Iterator[str]:
    """All about a row: its run, its objective, its reference, who copies its number, its deltas."""
    row = cell.row
    yield f"{suite.address}/{row.name}  (as {variant})"
    yield ""
    facts = [
        ("paper", suite.paper),
        *(_trained_facts(cell) if cell.runs else _untrained_facts(suite, row)),
        ("report epoch", report_epoch(row)),
        ("reference", _reference(cell)),
        ("source", row.reference.source or "none"),
        ("copied from", row.copied_from),
        ("copied by", "; ".join(copies)),
        ("tolerance", _tolerance(row)),
        ("assumed", row.assumed),
        ("note", row.note),
    ]
    yield columns([fact for fact in facts if fact[1] not in ("", None)], [])
    yield from _formulas(suite, row.name)
    yield from _deltas(suite, row.name, variant)


def _trained_facts(cell: Cell) -> Iterator[tuple[str, str]]:
    """What a row's first run is made of; its seeds differ in nothing else."""
    run = cell.runs[0]
    yield "data set", f"{run.dataset} ({run.data[:12]})"
    yield "student", run.student
    yield "teacher", _teacher(run)
    yield "loss", _loss(run.loss)
    yield "objective", catalog.find("losses", run.loss.name).formula
    yield "recipe", _recipe(run.recipe)
    yield "runs", ", ".join(f"seed {each.seed}: {each.id}" for each in cell.runs)


def _untrained_facts(suite: Suite, row: Row) -> Iterator[tuple[str, str]]:
    """A row that kdbench cannot train, as it is printed."""
    yield "data set", suite.dataset
    yield "student", row.shown
    yield "teacher", str(row.teacher or "none")
    yield "loss", _loss(row.loss)
    yield "recipe", _recipe(row.recipe)
    yield "runs", f"none: kdbench cannot train it: {row.untrained}"


def _teacher(run: Run) -> str:
    if run.imported is not None:
        return f"{run.imported.model}, imported (sha256 {run.imported.sha256})"
    if run.teacher is None:
        return "none"
    return f"{run.teacher.run.student}, epoch {run.teacher.epoch} of run {run.teacher.run.id}"


def _loss(loss: Loss) -> str:
    inside = ", ".join(f"{key} = {value:g}" for key, value in loss.params.items())
    return f"{loss.name}({inside})" if inside else loss.name


def _recipe(recipe: Recipe) -> str:
    """Its fields as a suite writes them: `milestones = [60, 120], flip = true`."""
    fields: dict[str, Any] = msgspec.to_builtins(recipe)
    parts = []
    for key, value in fields.items():
        written = json.dumps(value) if isinstance(value, bool | list | tuple) else value
        parts.append(f"{key} = {written}")
    return ", ".join(parts)


def _reference(cell: Cell) -> str:
    """What is printed of a row, for example `printed: top1 71.05 ± 0.16 (n = 3), gain +2.67`."""
    reference = cell.row.reference
    if not reference.is_given:
        return "none"
    top1 = "" if reference.top1 is None else f"top1 {reference.top1:.2f}"
    std = "" if reference.std is None else f" ± {reference.std:.2f}"
    n = "" if reference.n is None else f" (n = {reference.n})"
    spread = "" if reference.gain_std is None else f" ± {reference.gain_std:.2f}"
    gain = "" if reference.gain is None else f"gain {_gain(cell.row)}{spread}"
    sic = " (sic: it does not add up)" if cell.row.sic else ""
    return f"{reference.kind}: " + ", ".join(text for text in (top1 + std + n, gain + sic) if text)


def _tolerance(row: Row) -> str:
    """Nothing where nothing is held against a reference."""
    if not row.reference.is_given:
        return ""
    return f"top1 ± {row.tolerance.top1}, gain ± {row.tolerance.gain}"


def _gain(row: Row) -> str:
    over = f" over {row.over}" if row.over else ""
    return "" if row.reference.gain is None else f"{row.reference.gain:+.2f}{over}"


def _formulas(suite: Suite, name: str) -> Iterator[str]:
    """The readings of the row's printed formula, where it leaves something open."""
    row = next(row for row in suite.rows if row.name == name)
    readings = [formula for formula in suite.formulas if formula.delta.concerns(row)]
    for of in dict.fromkeys(formula.of for formula in readings):
        yield ""
        yield f"Readings of {of}:"
        for formula in readings:
            if formula.of == of:
                loss = loss_read_by(formula, suite, row)
                yield f"  {formula.name}: {catalog.find('losses', loss.name).formula}; {_loss(loss)}"
                yield f"    {formula.why}"
                if formula.assumed:
                    yield f"    assumed: {formula.assumed}"


def _deltas(suite: Suite, name: str, variant: str) -> Iterator[str]:
    row = next(row for row in suite.rows if row.name == name)
    found = [delta for delta in suite.deltas if delta.concerns(row)]
    if found:
        yield ""
        did = "does" if variant == "released" else "would do"
        yield f"What the released code {did} instead of what the paper prints:"
        yield from (f"  {delta.at}\n    {delta.why}" for delta in found)


def describe_rows(suites: Iterable[tuple[Suite, tuple[Cell, ...]]]) -> str:
    """The rows of suites, each by the address that `show` takes."""
    rows = [
        (
            f"{suite.address}/{cell.row.name}",
            (cell.runs[0] if cell.runs else cell.row).loss.name,
            "" if cell.row.reference.top1 is None else f"{cell.row.reference.top1:.2f}",
            _gain(cell.row),
        )
        for suite, cells in suites
        for cell in cells
    ]
    return columns(rows, ["row", "loss", "top1", "gain"])


def describe_findings(path: str, findings: Sequence[Finding]) -> Iterator[str]:
    """What lint found in a suite: contradictions first, then what has no source."""
    warnings = [finding for finding in findings if finding.level == "warning"]
    others = [finding for finding in findings if finding.level == "info"]
    yield f"{path}: {plural(len(warnings), 'contradiction')}, {plural(len(others), 'remark')}"
    yield from (f"  {finding.sentence}" for finding in warnings)
    yield from (f"  note: {finding.sentence}" for finding in others)


def _parameters(loss: catalog.LossEntry) -> str:
    """`alpha [0, 1], tau [0.001, 10000]`."""
    return ", ".join(f"{name} {each.valid}" for name, each in loss.ranges.items())


def describe_names(kind: catalog.Kind) -> str:
    """The names of a kind, each with what it is."""
    found: dict[str, Any] = catalog.entries(kind)
    if kind == "losses":
        rows = [(name, _parameters(entry), entry.formula) for name, entry in found.items()]
        return columns(rows, ["loss", "parameters", "objective"])
    if kind == "models":
        rows = [(name, f"{entry.least_size} pixels and more", entry.about) for name, entry in found.items()]
        return columns(rows, ["model", "images", ""])
    facts = []
    for name, entry in found.items():
        pixels = "many" if entry.varied else entry.size
        facts.append((name, entry.classes, f"{entry.train:,} + {entry.test:,}", pixels, entry.about))
    return columns(facts, ["data set", "classes", "images", "pixels", ""])
