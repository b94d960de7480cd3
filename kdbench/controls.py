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

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import hypot
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from kdbench import catalog
from kdbench.claim import Outcome
from kdbench.spec import Cell, Loss, Recipe, Result, Run, Teacher
from kdbench.stats import LEVEL, greater_p, half_width, mean, spread

if TYPE_CHECKING:
    from kdbench.training.probe import Probed

Prober = Callable[[Loss, str, int], "Probed"]
BLANK = "blank"
"""The model that, untrained, teaches uniform targets."""


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
    best: str
    """The control of the highest mean; "" without results."""
    gain: float | None
    """The gain over it: what the teacher has to itself."""
    interval: tuple[float, float] | None
    outcome: Outcome
    """Whether the teacher matters: holds where the row beats each control at 5 % (intersection-union test);
    does not hold where one control beats the row, at 5 % divided by their number."""


def control_cells(cells: Iterable[Cell], prober: Prober) -> list[tuple[Cell, dict[str, Cell]]]:
    """The rows that have a teacher, each with its controls by name.

    Args:
        cells: rows with their runs.
        prober: what `kdbench.audit.load_prober` gave; it imports torch.
    """
    taught = [cell for cell in cells if cell.runs and cell.runs[0].taught]
    return [(cell, _controls(cell, prober)) for cell in taught]


def _controls(cell: Cell, prober: Prober) -> dict[str, Cell]:
    run = cell.runs[0]
    classes = run.recipe.classes or int(catalog.find("datasets", run.dataset).classes)
    scale, epsilon = strength(run.loss, run.dataset, classes, prober)
    without = {"ce": _smoothed(0.0, scale)}
    if epsilon is not None:
        within = hypot(*prober(_smoothed(epsilon, 1.0), run.dataset, classes).slope)
        plain = hypot(*prober(Loss("ce"), run.dataset, classes).slope)
        without["lsr"] = _smoothed(epsilon, _rounded(scale * plain / within))
    found = {name: [_alone(run, loss) for run in cell.runs] for name, loss in without.items()}
    found["uniform"] = [_untrained(run, BLANK) for run in cell.runs]
    found["untrained"] = [_untrained(run, _teacher(run)) for run in cell.runs]
    return {name: _derived(cell, name, tuple(runs)) for name, runs in found.items()}


def strength(loss: Loss, dataset: str, classes: int, prober: Prober) -> tuple[float, float | None]:
    """How strong a loss is: c of plain cross-entropy of its size, and the epsilon of its share.

    With h, k and s the sizes of the gradients of H(q, p), of H(u, p) and of the soft term, and a the weight
    of the hard one, the share is s / (a h + s); that of label smoothing is ε k / ((1 - ε) h + ε k).
    """
    found = prober(loss, dataset, classes)
    scale = _rounded(found.gradient)
    if found.hard is None:
        return scale, None
    plain = prober(Loss("ce"), dataset, classes).slope
    h, k = hypot(*plain), hypot(*prober(_smoothed(1.0, 1.0), dataset, classes).slope)
    s = hypot(*(g - found.hard * p for g, p in zip(found.slope, plain, strict=True)))
    share = s / (abs(found.hard) * h + s)
    return scale, _rounded(share * h / (share * h + (1 - share) * k))


def _smoothed(epsilon: float, scale: float) -> Loss:
    return Loss("lsr_scaled", {"epsilon": epsilon, "scale": scale})


def _rounded(value: float) -> float:
    """To four digits: a run's identity must not hang on a machine's rounding."""
    return float(f"{value:.4g}")


def _alone(run: Run, loss: Loss) -> Run:
    return replace(run, loss=loss, teacher=None, imported=None)


def _untrained(run: Run, student: str) -> Run:
    """The run with a network as it is before training as its teacher.

    How that would be trained is no part of it, so that rows share this control.
    """
    classes = run.teacher.run.recipe.classes if run.teacher else run.recipe.classes
    start = Recipe(epochs=1, batch_size=1, lr=1.0, classes=classes)
    network = replace(
        run, student=student, recipe=start, loss=Loss("ce"), teacher=None, imported=None, weights=None
    )
    return replace(run, teacher=Teacher(replace(network, precision="float32"), 0), imported=None)


def _teacher(run: Run) -> str:
    """The model that teaches."""
    if run.imported is not None:
        return run.imported.model
    return run.teacher.run.student if run.teacher else ""


def _derived(cell: Cell, name: str, runs: tuple[Run, ...]) -> Cell:
    """A control as a row of its own."""
    row = replace(cell.row, name=f"{cell.row.name}+{name}", loss=runs[0].loss)
    return Cell(row=row, runs=runs, ids=tuple(run.id for run in runs), baselines=())


def check_controls(
    controlled: Iterable[tuple[Cell, Mapping[str, Cell]]], results: Mapping[str, Result]
) -> list[Controlled]:
    """Hold each row against its controls, at the row's reading, over the seeds that both have."""
    return [_check(cell, controls, results) for cell, controls in controlled]


def _check(cell: Cell, controls: Mapping[str, Cell], results: Mapping[str, Result]) -> Controlled:
    values = _values(cell, results)
    found = [_control(name, control, values, results) for name, control in controls.items()]
    known = [control for control in found if control.gain is not None]
    best = min(known, key=lambda control: control.gain or 0.0) if known else None
    return Controlled(
        row=cell.row.name,
        controls=tuple(found),
        best=best.name if best else "",
        gain=best.gain if best else None,
        interval=best.interval if best else None,
        outcome=_outcome(found),
    )


def _values(cell: Cell, results: Mapping[str, Result]) -> dict[int, float]:
    there = ((run.seed, results.get(of)) for run, of in zip(cell.runs, cell.ids, strict=True))
    return {seed: result.curve.at(cell.row.reading) for seed, result in there if result is not None}


def _control(name: str, cell: Cell, values: Mapping[int, float], results: Mapping[str, Result]) -> Control:
    theirs = _values(cell, results)
    gains = [value - theirs[seed] for seed, value in values.items() if seed in theirs]
    scatter = spread(gains)
    center, half = (mean(gains) if gains else 0.0), half_width(scatter) if scatter else 0.0
    return Control(
        name=name,
        loss=cell.row.loss,
        ids=cell.ids,
        measured=mean(list(theirs.values())) if theirs else None,
        gain=center if gains else None,
        interval=(center - half, center + half) if scatter else None,
        n=len(gains),
        p_better=greater_p(gains) if scatter else None,
        p_worse=greater_p([-gain for gain in gains]) if scatter else None,
    )


def _outcome(controls: Sequence[Control]) -> Outcome:
    better = [control.p_better for control in controls if control.p_better is not None]
    worse = [control.p_worse for control in controls if control.p_worse is not None]
    if len(better) == len(controls) and max(better) <= LEVEL:
        return Outcome.HOLDS
    if worse and min(worse) * len(controls) <= LEVEL:
        return Outcome.FAILS
    return Outcome.UNDECIDED
