"""Runs that control a row: the same student, taught by nothing that knows anything (`--controls`)."""

import warnings
from collections.abc import Iterable
from math import hypot

from msgspec.structs import replace

from kdbench import catalog
from kdbench.errors import PluginWarning, UserError
from kdbench.plan.expand import with_plugins
from kdbench.plan.objectives import Prober
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.spec.suites import Cell

PROBE = "kdbench.training.probe:probe"


BLANK = "blank"
"""The model that, untrained, teaches uniform targets."""


def load_prober() -> Prober:
    """The probe; imports torch."""
    return catalog.load(PROBE)


def control_cells(cells: Iterable[Cell], prober: Prober) -> list[tuple[Cell, dict[str, Cell]]]:
    """The rows that have a teacher, each with its controls by name.

    A row whose loss, of another package, cannot be probed has none, and a warning says why.

    Args:
        cells: rows with their runs.
        prober: what `kdbench.plan.controls.load_prober` gave; it imports torch.
    """
    taught = [cell for cell in cells if cell.runs and cell.runs[0].taught]
    found = [(cell, _controls_or_none(cell, prober)) for cell in taught]
    return [(cell, controls) for cell, controls in found if controls]


def _controls_or_none(cell: Cell, prober: Prober) -> dict[str, Cell]:
    try:
        return _controls(cell, prober)
    except UserError as error:
        warnings.warn(f"{cell.row.name} has no controls: {error}", PluginWarning, stacklevel=3)
        return {}


def _controls(cell: Cell, prober: Prober) -> dict[str, Cell]:
    """The control rows of a row, by name.

    `ce` and `lsr`: no teacher, with gradients as strong as the row's. `uniform` and `untrained`: its own
    loss, taught by a network that knows nothing.

    Args:
        cell: a row with a teacher.
        prober: finds the strength of its soft term, so that smoothing is as strong.
    """
    run = cell.runs[0]
    classes = run.outputs
    scale, epsilon = strength(run.loss, run.dataset, classes, prober)
    without = {"ce": _smoothed(0.0, scale)}
    if epsilon is not None:
        # c is chosen such that c times the gradient of H(q', p) is as large as the row's gradient.
        within = hypot(*prober(_smoothed(epsilon, 1.0), run.dataset, classes).slope)
        plain = hypot(*prober(Loss("ce"), run.dataset, classes).slope)
        without["lsr"] = _smoothed(epsilon, _rounded(scale * plain / within))
    found = {}
    for name, loss in without.items():
        alone = [replace(run, loss=loss, teacher=None, imported=None) for run in cell.runs]
        found[name] = list(map(with_plugins, alone))
    found["uniform"] = [_untrained(run, BLANK) for run in cell.runs]
    found["untrained"] = [_untrained(run, run.teacher_model) for run in cell.runs]
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
    # The soft term's gradient is what is left of the whole when the hard term's is taken off.
    plain = prober(Loss("ce"), dataset, classes).slope
    h = hypot(*plain)
    k = hypot(*prober(_smoothed(1.0, 1.0), dataset, classes).slope)
    s = hypot(*(g - found.hard * p for g, p in zip(found.slope, plain, strict=True)))
    share = s / (abs(found.hard) * h + s)
    return scale, _rounded(share * h / (share * h + (1 - share) * k))


def _smoothed(epsilon: float, scale: float) -> Loss:
    return Loss("lsr_scaled", {"epsilon": epsilon, "scale": scale})


def _rounded(value: float) -> float:
    """To four digits: a run's identity must not hang on a machine's rounding."""
    return float(f"{value:.4g}")


def _untrained(run: Run, student: str) -> Run:
    """The run with a network as it is before training as its teacher.

    How that would be trained is no part of it, so that rows share this control.
    """
    classes = run.teacher.run.recipe.classes if run.teacher else run.recipe.classes
    start = Recipe(epochs=1, batch_size=1, lr=1.0, classes=classes)
    network = replace(
        run, student=student, recipe=start, loss=Loss("ce"), teacher=None, imported=None, weights=None
    )
    network = with_plugins(replace(network, precision="float32"))
    return with_plugins(replace(run, teacher=Teacher(network, 0), imported=None))


def _derived(cell: Cell, name: str, runs: tuple[Run, ...]) -> Cell:
    """A control as a row of its own; that of a trial is one too."""
    row = replace(cell.row, name=f"{cell.row.name}+{name}", loss=runs[0].loss)
    trials = frozenset(run.id for run in runs) if cell.trials else frozenset[str]()
    return Cell(row=row, runs=runs, trials=trials)
