"""Does the teacher matter? Each row that has one, held against controls that know nothing: `--controls`.

    ce         c H(q, p): plain cross-entropy with a gradient of the row's size
    lsr        c H(q', p): label smoothing, of whose gradient the uniform part is as large a share as the
               teacher's part is of the row's, c again such that the size is the row's
    uniform    the row's own loss, with a teacher that gives every class the same
    untrained  the row's own loss, with its teacher as it was before its training

Sizes are root mean squares over the audit's probe (`kdbench.training.probe`), at the start of training
nearly. The row's data, recipe, seeds and student are the controls'. A row whose loss is no mixture of a hard
and a soft term has no share, and so no `lsr`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from kdbench.spec.results import Result
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Cell
from kdbench.spec.verdicts import Outcome
from kdbench.verdict.check import values_of
from kdbench.verdict.paired import Paired, conjunction, paired
from kdbench.verdict.sequential import InterimPlan, levels, plan_of
from kdbench.verdict.stats import mean


class Control(Struct, frozen=True, kw_only=True):
    """One control of a row, and what the row gains over it: paired by seed, in percentage points."""

    name: str
    loss: Loss
    ids: tuple[str, ...]
    measured: float | None = None
    """The mean accuracy of the control."""
    gain: float | None = None
    interval: tuple[float, float] | None = None
    """90 % confidence interval of the gain; None for fewer than two seeds."""
    n: int = 0
    p_better: float | None = None
    """The p-value of the one-sided paired t test that the row is better."""
    p_worse: float | None = None
    """The same, that it is not."""


class Controlled(Struct, frozen=True, kw_only=True):
    """A row held against its controls."""

    row: str
    controls: tuple[Control, ...]
    best: str = ""
    """The control of the highest mean; "" without results."""
    gain: float | None = None
    """The gain over it: what the teacher has to itself."""
    interval: tuple[float, float] | None = None
    outcome: Outcome
    """Whether the teacher matters: holds where the row beats each control at 5 % (intersection-union test);
    does not hold where one control beats the row, at 5 % divided by their number."""
    damage: tuple[str, ...] = ()
    """What is wrong with results of the row or of its controls that cannot be read."""


def check_controls(
    controlled: Iterable[tuple[Cell, Mapping[str, Cell]]],
    results: Mapping[str, Result],
    plans: Mapping[str, InterimPlan] = MappingProxyType({}),
    unreadable: Mapping[str, str] = MappingProxyType({}),
) -> list[Controlled]:
    """Hold each row against its controls, at the row's reported epoch, over the seeds that both have.

    Args:
        controlled: each row with its controls by name.
        results: by the id of the run.
        plans: of rows whose seeds were chosen by interim analyses, by the id of the run.
        unreadable: what is wrong with the record of a run that could not be read.
    """
    checked = []
    for cell, controls in controlled:
        found = _check(cell, controls, results, plans)
        ids = [*cell.ids, *(of for control in controls.values() for of in control.ids)]
        damage = tuple(dict.fromkeys(unreadable[of] for of in ids if of in unreadable))
        checked.append(replace(found, outcome=Outcome.UNREADABLE, damage=damage) if damage else found)
    return checked


def _check(
    cell: Cell, controls: Mapping[str, Cell], results: Mapping[str, Result], plans: Mapping[str, InterimPlan]
) -> Controlled:
    """A row over each of its controls, seed by seed; the best control leaves the least gain."""
    values, at = values_of(cell, results), levels(plan_of(cell, plans))
    found = []
    for name, control in controls.items():
        theirs = values_of(control, results, cell.row.report_epoch)
        found.append(_control(name, control, theirs, paired(values, theirs, at)))
    *_, outcome = conjunction([each.p_better for each in found], [each.p_worse for each in found])
    checked = Controlled(row=cell.row.name, controls=tuple(found), outcome=outcome)
    known = [control for control in found if control.gain is not None]
    if not known:
        return checked
    best = min(known, key=lambda control: control.gain or 0.0)
    return replace(checked, best=best.name, gain=best.gain, interval=best.interval)


def _control(name: str, cell: Cell, values: Mapping[int, float], gain: Paired) -> Control:
    return Control(
        name=name,
        loss=cell.row.loss,
        ids=cell.ids,
        measured=mean(list(values.values())) if values else None,
        gain=gain.difference,
        interval=gain.interval,
        n=gain.n,
        p_better=gain.p_above(),
        p_worse=gain.p_below(),
    )
