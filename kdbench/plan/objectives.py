"""The losses' own arithmetic: what each row's objective is, by what its gradient does.

Needs no results. The numbers come from `kdbench.training.probe`; here they are put beside each other and
beside what the paper prints, for the same parameters.
"""

from collections.abc import Callable, Iterable, Iterator
from math import dist, hypot, nan
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.grouping import grouped
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Cell, Row, Suite
from kdbench.suite.deltas import loss_read_by

FAINT = 0.01
"""A soft term below this share of the gradient teaches next to nothing."""
SAME = 0.01
"""Two objectives count as the same where their gradients differ by no more than this share of their size."""


class Probed(Struct, frozen=True, kw_only=True):
    """What a loss was found to be."""

    hard: float | None = None
    """The weight of H(q, p); None: the loss is of none of the forms."""
    soft: float | None = None
    """The weight of the soft term at its definition."""
    term: str = ""
    """That soft term; "" without one."""
    scale: float | None = None
    """c, where the loss is c H(q', p)."""
    gradient: float
    """The size of its gradient over that of plain cross-entropy, root mean square over the probe."""
    nats: float | None = None
    """How far the soft term's target is from uniform: ln K minus its entropy, mean over the probe."""
    epsilon: float | None = None
    """The label smoothing that it equals: q' = (1 - ε) q + ε u."""
    share: float | None = None
    """The size of the soft term's gradient over the whole's; None where it is not a term of its own."""
    parts: tuple[tuple[str, float], ...] = ()
    """The parts of a soft term that has several, each with its weight."""
    slope: tuple[float, ...]
    """g, to compare losses by."""


class Prober(Protocol):
    """What finds out what a loss does: of the loss, the data set, the number of classes and the labels' ε."""

    def __call__(self, loss: Loss, dataset: str, classes: int, smoothing: float = 0.0, /) -> Probed:
        """What it was found to be."""


class Reading(Struct, frozen=True, kw_only=True):
    """One reading of a row's printed formula, and what its loss was found to be; `Probed` has the legend."""

    name: str
    of: str
    why: str
    assumed: str
    """Why rows are trained by it `--as printed`; "" for the others."""
    loss: Loss
    soft: float | None
    share: float | None
    nats: float | None
    gradient: float


class Audit(Struct, frozen=True, kw_only=True):
    """What the objective of a row was found to be; `Probed` has the legend."""

    row: str
    loss: Loss
    hard: float | None
    soft: float | None
    term: str
    times_printed: float | None
    """The weight of the soft term over that which the printed formula gives it for the same parameters.

    None where there is no soft term, or the printed one is another.
    """
    scale: float | None
    gradient: float
    nats: float | None
    epsilon: float | None
    share: float | None = None
    parts: tuple[tuple[str, float], ...] = ()
    readings: tuple["Reading", ...] = ()
    """Those of the printed formula, where it leaves something open."""
    same: tuple[str, ...] = ()
    """Other rows of the same student and teacher with the same objective, to `SAME`."""
    apart: float | None = None
    """The largest difference of their gradients from this one's, as a share of its size."""
    smoothing: float = 0.0
    """ε of the recipe's `label_smoothing`, which the hard term is given."""
    mixing: str = ""
    """How the recipe mixes images and targets, `mixup 0.2`; the findings hold of each mixed batch."""
    problem: str = ""
    """Why nothing was found: a loss of another package that fails."""


def audit_suite(suite: Suite, cells: Iterable[Cell], prober: Prober) -> list[Audit]:
    """The objectives of rows, in their order.

    Args:
        suite: the rows as printed.
        cells: the rows as they are trained.
        prober: finds out what a loss does, of the loss, the data set and the number of classes.

    Raises:
        UserError: a loss needs what the data set does not have.
    """
    find = _remembering(prober, suite.dataset)
    printed = {row.name: row for row in suite.rows}
    audits: list[Audit] = []
    probed: list[tuple[Cell, Probed]] = []
    for cell in cells:
        if not cell.runs:
            continue
        row, loss = printed[cell.row.name], cell.runs[0].loss
        try:
            found = find(loss, cell)
            as_printed = find(_as_printed(row.loss, loss), cell)
        except UserError as error:
            if not catalog.package_of("losses", loss.name):
                raise
            audits.append(_unknown(cell, str(error)))
        else:
            probed.append((cell, found))
            readings = tuple(_readings(suite, row, cell, find))
            audits.append(replace(_audit(cell, found, as_printed), readings=readings))
    same = _same(probed)
    return [replace(audit, **same.get(audit.row, {})) for audit in audits]


def _readings(suite: Suite, row: Row, cell: Cell, find: Callable[[Loss, Cell], Probed]) -> Iterator[Reading]:
    """What each reading of a row's printed formula does, whichever variant is trained."""
    for formula in suite.formulas:
        if not formula.delta.concerns(row):
            continue
        loss = loss_read_by(formula, suite, row)
        found = find(loss, cell)
        numbers = {name: getattr(found, name) for name in ("soft", "share", "nats", "gradient")}
        texts = {name: getattr(formula, name) for name in ("name", "of", "why", "assumed")}
        yield Reading(loss=loss, **texts, **numbers)


def faint(audits: Iterable[Audit]) -> list[Audit]:
    """Rows whose soft term is all but nothing: below `FAINT` of the gradient, and not 0."""
    return [audit for audit in audits if audit.share is not None and 0 < audit.share < FAINT]


def divided_by_classes(audits: Iterable[Audit]) -> list[str]:
    """The losses of rows whose released code takes `kl_div`'s mean over the classes too, each once."""
    names = dict.fromkeys(audit.loss.name for audit in audits)
    return [name for name in names if "/ K" in catalog.find("losses", name).formula]


def _unknown(cell: Cell, problem: str) -> Audit:
    """Of a row whose loss, of another package, fails."""
    nothing: dict[str, Any] = dict.fromkeys(("hard", "soft", "times_printed", "scale", "nats", "epsilon"))
    return Audit(row=cell.row.name, loss=cell.runs[0].loss, term="", gradient=nan, problem=problem, **nothing)


def _remembering(prober: Prober, dataset: str) -> Callable[[Loss, Cell], Probed]:
    """A prober that measures each loss once for each number of classes and each smoothing of a recipe."""
    known: dict[object, Probed] = {}

    def find(loss: Loss, cell: Cell) -> Probed:
        run = cell.runs[0]
        smoothing = run.recipe.label_smoothing
        key = (loss.name, tuple(sorted(loss.params.items())), run.outputs, smoothing)
        if key not in known:
            known[key] = prober(loss, dataset, run.outputs, smoothing)
        return known[key]

    return find


def _as_printed(printed: Loss, trained: Loss) -> Loss:
    """The printed formula with the parameters that are trained with."""
    return Loss(
        printed.name, {name: trained.params.get(name, value) for name, value in printed.params.items()}
    )


def _audit(cell: Cell, found: Probed, printed: Probed) -> Audit:
    # A weight over another term's, or over none, would be a number without a meaning.
    comparable = found.term == printed.term != "" and found.soft is not None and printed.soft
    return Audit(
        row=cell.row.name,
        loss=cell.runs[0].loss,
        smoothing=cell.runs[0].recipe.label_smoothing,
        mixing=_mixing(cell),
        times_printed=round(found.soft / printed.soft, 6) if comparable else None,  # type: ignore[operator]
        **{
            name: getattr(found, name)
            for name in ("hard", "soft", "term", "scale", "gradient", "nats", "epsilon", "share", "parts")
        },
    )


def _mixing(cell: Cell) -> str:
    """`mixup 0.2, cutmix 1` of a recipe that mixes; else ""."""
    recipe = cell.runs[0].recipe
    return ", ".join(f"{name} {of:g}" for name in ("mixup", "cutmix") if (of := getattr(recipe, name)))


def _same(probed: Iterable[tuple[Cell, Probed]]) -> dict[str, dict[str, Any]]:
    """By row: the others of the same student, teacher and objective, and how far these are apart."""
    # Only rows that could be exchanged are held against each other: one student, one teacher, one mixing.
    groups = grouped(
        ((cell.row.student, _teacher(cell), _mixing(cell), len(found.slope)), (cell, found))
        for cell, found in probed
    )
    same = {}
    for group in groups.values():
        for cell, found in group:
            near = {other.row.name: _apart(found, its) for other, its in group if other is not cell}
            near = {name: share for name, share in near.items() if share <= SAME}
            if near:
                same[cell.row.name] = {"same": tuple(near), "apart": round(max(near.values()), 8)}
    return same


def _teacher(cell: Cell) -> object:
    """Which checkpoint of which run teaches, or which imported network."""
    run = cell.runs[0]
    return run.imported or (run.teacher and (run.teacher.run.id, run.teacher.epoch))


def _apart(one: Probed, other: Probed) -> float:
    """The difference of two gradients as a share of the first one's size."""
    return dist(one.slope, other.slope) / (hypot(*one.slope) or 1.0)


def classes(audits: Iterable[Audit]) -> list[tuple[tuple[str, ...], float]]:
    """Rows with the same objective under different names, and how far apart they are at most."""
    audits = list(audits)
    loss = {audit.row: (audit.loss, audit.smoothing) for audit in audits}
    found: dict[tuple[str, ...], float] = {}
    for audit in audits:
        # A set with one name alone is no finding: rows of one loss have the same objective anyhow.
        rows = tuple(name for name in loss if name == audit.row or name in audit.same)
        if any(loss[name] != loss[audit.row] for name in rows):
            found[rows] = max(found.get(rows, 0.0), audit.apart or 0.0)
    return list(found.items())
