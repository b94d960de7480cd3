"""Plain text for the commands that look: list, show, plan, status."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from kdbench import catalog
from kdbench.cost.bill import Bill, describe_bill, run_cost
from kdbench.evidence.attribute import Attribution, lines
from kdbench.lint import Finding
from kdbench.report.words import plural
from kdbench.seeds.proposing import Proposal
from kdbench.spec import Cell, Recipe, Row, Run, Suite
from kdbench.workload import Workload


def columns(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    """A table for a terminal."""
    from tabulate import tabulate

    return str(tabulate(rows, headers=heads, tablefmt="plain", disable_numparse=True))


def describe_plan(work: Workload, bill: Bill) -> Iterator[str]:
    """What is stored, what would be trained, and what that costs."""
    yield describe_work(work)
    if not work.runs:
        return
    rows = [
        (run.id, run.slug, run.seed, run.recipe.epochs, _taught(run), *run_cost(bill, run), _why(work, run))
        for run in work.runs
    ]
    yield columns(rows, ["run", "what", "seed", "epochs", "teacher", "PFLOP", "time", ""])
    yield ""
    yield from describe_bill(bill, work.runs, [suite.path.removesuffix(".toml") for suite, _ in work.suites])


def describe_proposals(chosen: Sequence[Proposal], found: Sequence[Proposal]) -> Iterator[str]:
    """Which seeds to train next, the cheapest decision first, and what they cost in all."""
    if not found:
        yield "nothing to propose: every row is decided, or no seed would decide it"
        return
    rows = [
        (
            each.row,
            each.top1,
            each.gain,
            ", ".join(map(str, each.seeds)),
            len(each.runs),
            "?" if each.seconds is None else f"{each.seconds / 3600:.2f}",
            "" if each.sure else "to know the spread",
        )
        for each in chosen
    ]
    yield columns(rows, ["row", "verdict", "gain", "seeds", "runs", "hours", ""])
    hours = sum(each.seconds or 0.0 for each in chosen) / 3600
    unknown = sum(each.seconds is None for each in found)
    yield f"{len(chosen)} of {len(found)} open rows, {hours:.2f} hours if mean and spread stay"
    if unknown:
        yield f"{unknown} rows of unknown cost: nothing like them was trained yet; a budget leaves them out"


def describe_attribution(found: Attribution, missing: int) -> Iterator[str]:
    """What each delta explains, in percentage points with the 90 % interval and the number of seeds."""
    reference, printed, released = (
        "-" if value is None else f"{value:.2f}" for value in (found.reference, found.printed, found.released)
    )
    yield f"{found.row}: the paper prints {reference}; trained as printed {printed}, as released {released}"
    yield columns(list(lines(found)), ["delta", "on, where none is", "off, where all are", "explains"])
    yield from (f"cannot be switched by itself: {delta}" for delta in found.stuck)
    if missing:
        yield f"{plural(missing, 'run')} missing for the whole answer; --run trains what is"


def describe_work(work: Workload) -> str:
    """One line on what was found and what is trained."""
    rows, stored = plural(len(work.cells), "row"), plural(work.stored, "run")
    names = ", ".join(suite.name for suite, _ in work.suites)
    again = f", {len(work.retrained)} of them again" if work.retrained else ""
    return f"{names}: {rows}; {stored} stored, {len(work.runs)} to train{again}"


def _taught(run: Run) -> str:
    if run.imported is not None:
        return f"imported {run.imported.sha256[:12]}"
    return "" if run.teacher is None else f"{run.teacher.run.id} at {run.teacher.epoch}"


def _why(work: Workload, run: Run) -> str:
    return "stored; trained again for its weights or as asked" if run.id in work.retrained else ""


def describe_row(suite: Suite, cell: Cell, form: str) -> Iterator[str]:
    """All about a row: its run, its objective, its reference, its deltas."""
    row, run = cell.row, cell.runs[0]
    entry = catalog.find("losses", run.loss.name)
    yield f"{suite.path.removesuffix('.toml')}/{row.name}  (as {form})"
    yield ""
    facts = [
        ("paper", suite.paper),
        ("data set", f"{run.dataset} ({run.data[:12]})"),
        ("student", run.student),
        ("teacher", _teacher(run)),
        ("loss", f"{run.loss.name}{_params(run)}"),
        ("objective", entry.formula),
        ("recipe", _recipe(run.recipe)),
        (
            "runs",
            ", ".join(f"seed {each.seed}: {name}" for each, name in zip(cell.runs, cell.ids, strict=True)),
        ),
        ("reading", row.reading),
        ("reference", _reference(cell)),
        ("source", row.reference.source or "none"),
        ("tolerance", f"top1 ± {row.tolerance.top1}, gain ± {row.tolerance.gain}"),
        ("assumed", row.assumed),
        ("note", row.note),
    ]
    yield columns([fact for fact in facts if fact[1] not in ("", None)], [])
    yield from _deltas(suite, row.name, form)


def _teacher(run: Run) -> str:
    if run.imported is not None:
        return f"{run.imported.model}, imported (sha256 {run.imported.sha256})"
    if run.teacher is None:
        return "none"
    return f"{run.teacher.run.student}, epoch {run.teacher.epoch} of run {run.teacher.run.id}"


def _params(run: Run) -> str:
    inside = ", ".join(f"{key} = {value:g}" for key, value in run.loss.params.items())
    return f"({inside})" if inside else ""


def _recipe(recipe: Recipe) -> str:
    fields: dict[str, Any] = msgspec.to_builtins(recipe)
    return ", ".join(f"{key} = {value}" for key, value in fields.items())


def _reference(cell: Cell) -> str:
    reference = cell.row.reference
    if reference.top1 is None and reference.gain is None:
        return "none"
    top1 = "" if reference.top1 is None else f"top1 {reference.top1:.2f}"
    std = "" if reference.std is None else f" ± {reference.std:.2f}"
    n = "" if reference.n is None else f" (n = {reference.n})"
    gain = "" if reference.gain is None else f"gain {_gain(cell.row)}"
    sic = " (sic: it does not add up)" if cell.row.sic else ""
    return f"{reference.kind}: " + ", ".join(text for text in (top1 + std + n, gain + sic) if text)


def _gain(row: Row) -> str:
    over = f" over {row.over}" if row.over else ""
    return "" if row.reference.gain is None else f"{row.reference.gain:+.2f}{over}"


def _deltas(suite: Suite, name: str, form: str) -> Iterator[str]:
    row = next(row for row in suite.rows if row.name == name)
    found = [delta for delta in suite.deltas if delta.concerns(row)]
    if found:
        yield ""
        did = "does" if form == "released" else "would do"
        yield f"What the released code {did} instead of what the paper prints:"
        yield from (f"  {delta.at}\n    {delta.why}" for delta in found)


def describe_rows(suites: Iterable[tuple[Suite, tuple[Cell, ...]]]) -> str:
    """The rows of suites, each by the address that `show` takes."""
    rows = [
        (
            f"{suite.path.removesuffix('.toml')}/{cell.row.name}",
            cell.runs[0].loss.name if cell.runs else "",
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


def entries(kind: catalog.Kind) -> dict[str, Any]:
    """The catalog's entries of a kind, by name."""
    return {name: catalog.find(kind, name) for name in catalog.names(kind)}


def describe_names(kind: catalog.Kind) -> str:
    """The names of a kind, each with what it is."""
    found = entries(kind)
    if kind == "losses":
        rows = [(name, ", ".join(entry.params), entry.formula) for name, entry in found.items()]
        return columns(rows, ["loss", "parameters", "objective"])
    if kind == "models":
        rows = [(name, f"{entry.least_size} pixels and more", entry.about) for name, entry in found.items()]
        return columns(rows, ["model", "images", ""])
    facts = [
        (
            name,
            entry.classes,
            f"{entry.train:,} + {entry.test:,}",
            "many" if entry.varied else entry.size,
            entry.about,
        )
        for name, entry in found.items()
    ]
    return columns(facts, ["data set", "classes", "images", "pixels", ""])
