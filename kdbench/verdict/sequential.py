"""Interim analyses after each seed: the levels of a group-sequential design.

Who trains another seed until the verdict pleases has more than one chance in twenty to be wrong. The
analyses are therefore planned before the first: after `first` seeds, after each further one, at most after
`most`. What each of the one-sided tests may be wrong is spent over the analyses, after Lan and DeMets
(Biometrika 70, 1983), with the function that makes the levels almost equal: by the share x of the seeds,

    SPENT ln(1 + (e - 1) x)

may have been spent. The boundary b of an analysis is where the sum of normal increments, having crossed no
earlier boundary, crosses it with just the chance that the analysis may spend: the density of that sum is
carried from one to the next by numerical integration (Armitage, McPherson and Rowe, J. R. Statist. Soc. A
132, 1969).

The levels are used for the p-values of t tests (the significance-level approach: Jennison and Turnbull,
Group Sequential Methods, 2000, Sec. 4.4). With few seeds that loses something: of 5 % spent on the normal
scale up to 6.2 % become wrong. So 4 % are spent, and at most 5 % are. Against a printed spread it loses more:
its error is the same at every analysis, and Welch's degrees of freedom of two or three seeds are too many. So
less is spent there, by the number of printed runs (`spent`). tests/verdict/test_sequential.py draws both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from math import e, log, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from kdbench.errors import UserError
from kdbench.spec.suites import Cell
from kdbench.store.json_files import load_folder, save_json
from kdbench.verdict.stats import NO_PLAN, Levels, Spread

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array = NDArray[float64]

SPENT = 0.04
"""By the last analysis, of each one-sided test, on the normal scale, where the printed mean is exact."""
SPENT_PRINTED = {2: 0.03, 3: 0.025, 4: 0.022, 5: 0.019, 10: 0.013}
"""The same against the spread of at most so many printed runs."""
SPENT_MANY = 0.009
"""The same against a spread of more runs, or one that is assumed."""
NODES = 400
"""Of the integration over the density; 200 give the same levels to 1e-9."""
FAR = 8.0
"""Standard deviations below which the density is nothing."""


class InterimPlan(Struct, frozen=True, kw_only=True):
    """When a row is analysed: after `first` seeds, after each further one, at most after `most`."""

    first: Annotated[int, Meta(ge=2)] = 2
    most: Annotated[int, Meta(ge=2, le=50)] = 10


def levels(plan: InterimPlan | None, printed: Spread | None = None) -> Levels:
    """By number of seeds: what the p-value of a one-sided test of this analysis must not exceed.

    For at most 10 seeds, against an exact number: 1.18 % at 2 seeds, 0.89 % at 3, rising to 1.19 % at 10.

    Args:
        plan: when the row is analysed; None: when all its seeds are there, and 5 % holds.
        printed: the printed number's spread; None: it counts as exact, as in a paired comparison.
    """
    return _levels(plan, spent(printed)) if plan else NO_PLAN


def spent(printed: Spread | None) -> float:
    """What may be spent in all, such that at most 5 % of the rows at their margin are found wrong."""
    if printed is None or not printed.var_of_mean:
        return SPENT
    fitting = [share for runs, share in SPENT_PRINTED.items() if printed.degrees < runs]
    return max(fitting, default=SPENT_MANY)


@cache
def _levels(plan: InterimPlan, whole: float) -> Levels:
    counts = range(plan.first, plan.most + 1)
    shares = [n / plan.most for n in counts]
    return dict(zip(counts, nominal(shares, [whole * log(1 + (e - 1) * x) for x in shares]), strict=True))


def nominal(shares: Sequence[float], spent: Sequence[float]) -> Iterator[float]:
    """The levels of the analyses.

    Args:
        shares: of the information at each analysis, rising to 1.
        spent: how much may have been spent by each analysis, rising.
    """
    import numpy as np
    from scipy.special import ndtr, ndtri

    # The sum S(t) of the standardized increments has variance t, the share of the information. `at` are the
    # nodes below the boundary, and `mass` is the density there of an S that crossed none so far, times the
    # nodes' weights: the sum of `mass` is the chance that the trial goes on.
    yield spent[0]
    at, weight = _nodes(-ndtri(spent[0]) * sqrt(shares[0]), shares[0])
    mass = weight * np.exp(-(at**2) / (2 * shares[0])) / sqrt(2 * np.pi * shares[0])
    for (before, now), (old, new) in zip(pairwise(shares), pairwise(spent), strict=True):
        # What crosses now and did not before is what this analysis may spend, new - old. Its p-value's level
        # is that of S(now) / sqrt(now), a standard normal. Then the density is carried on by one increment.
        step = sqrt(now - before)
        boundary = _boundary(at, mass, step, new - old)
        yield float(ndtr(-boundary / sqrt(now)))
        then, weight = _nodes(boundary, now)
        kernel = np.exp(-(((then[:, None] - at) / step) ** 2) / 2) / (step * sqrt(2 * np.pi))
        at, mass = then, weight * (kernel @ mass)


def _nodes(boundary: float, variance: float) -> "tuple[Array, Array]":
    """Where and with which weights the density below a boundary is integrated (Gauss and Legendre)."""
    import numpy as np

    x, weight = np.polynomial.legendre.leggauss(NODES)
    low = -FAR * sqrt(variance)
    return low + (boundary - low) * (x + 1) / 2, weight * (boundary - low) / 2


def _boundary(at: "Array", mass: "Array", step: float, chance: float) -> float:
    """What the sum crosses with this chance, one increment after it was distributed like this."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    return float(brentq(lambda b: float((mass * ndtr((at - b) / step)).sum()) - chance, -FAR, FAR))


FOLDER = "interim_analyses"
_OLD_FOLDER = "looks"
"""What it was called before; plans that lie there hold."""


class PlannedRow(Struct, frozen=True, kw_only=True):
    """A row that is analysed after each seed: its plan and its runs, the first `most` seeds'."""

    row: str
    plan: InterimPlan
    runs: tuple[str, ...]


class _OldPlannedRow(Struct, frozen=True, kw_only=True):
    """The same as it was written into `_OLD_FOLDER`."""

    row: str
    looks: InterimPlan
    runs: tuple[str, ...]


def load_plans(results: Path) -> dict[str, InterimPlan]:
    """The plans there are, by the id of each run that they concern.

    Raises:
        UserError: a file is broken; all of them at once.
    """
    return {run: planned.plan for planned in _planned_rows(results).values() for run in planned.runs}


def _planned_rows(results: Path) -> dict[Path, PlannedRow]:
    """Every stored plan by its file, those of the old folder too."""
    words = {"what": "plan of interim analyses", "hint": "take it from a backup"}
    old = load_folder(results / _OLD_FOLDER, _OldPlannedRow, **words)
    renamed = {path: PlannedRow(row=each.row, plan=each.looks, runs=each.runs) for path, each in old.items()}
    return renamed | load_folder(results / FOLDER, PlannedRow, **words)


def files_of(results: Path, runs: Iterable[str]) -> dict[str, bytes]:
    """The files of the plans that concern any of these runs, by their name in a bundle of evidence."""
    asked = set(runs)
    return {
        f"results/{path.parent.name}/{path.name}": path.read_bytes()
        for path, planned in _planned_rows(results).items()
        if asked & set(planned.runs)
    }


def plan_of(cell: Cell, plans: Mapping[str, InterimPlan]) -> InterimPlan | None:
    """The plan of a row's interim analyses, by the ids of its runs; None: none chose its seeds."""
    return next((plans[of] for of in cell.ids if of in plans), None)


def record(results: Path, cells: Iterable[Cell], plan: InterimPlan) -> None:
    """Write down, before the first analysis, when these rows will be analysed; a plan there is stays.

    Args:
        results: the folder of the results.
        cells: the rows, with the runs of `plan.most` seeds.
        plan: when they are analysed.

    Raises:
        UserError: a row has another plan, which cannot be changed after the first analysis.
    """
    # A run belongs to one plan: rows that share runs share their analyses, whichever suite asks for them.
    there = load_plans(results)
    cells = list(cells)
    other = {cell.row.name: there[of] for cell in cells for of in cell.ids if there.get(of, plan) != plan}
    if other:
        name, made = next(iter(other.items()))
        raise UserError(
            f"{name}{f' and {len(other) - 1} more rows' if len(other) > 1 else ''}: planned for at most "
            f"{made.most} seeds, and a plan cannot be changed after the first analysis; "
            f"write --max-seeds {made.most}"
        )
    for cell in cells:
        if cell.ids and cell.ids[0] not in there:
            planned = PlannedRow(row=cell.row.name, plan=plan, runs=cell.ids)
            save_json(results / FOLDER / f"{cell.ids[0]}.json", planned)
