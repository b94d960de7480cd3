"""Looking after each seed, and staying honest: the levels of a group-sequential plan.

Who trains another seed until the verdict pleases has more than one chance in twenty to be wrong. A plan of
looks is therefore made before the first: after `first` seeds, after each further one, at most after `most`.
What each of the one-sided tests may be wrong is spent over the looks, after Lan and DeMets (Biometrika 70,
1983), with the function that makes the levels almost equal: by the share x of the seeds,

    SPENT ln(1 + (e - 1) x)

may have been spent. The boundary b of a look is where the sum of normal increments, having crossed no earlier
boundary, crosses it with just the chance that the look may spend: the density of that sum is carried from
look to look by numerical integration (Armitage, McPherson and Rowe, J. R. Statist. Soc. A 132, 1969).

The levels are used for the p-values of t tests (the significance-level approach: Jennison and Turnbull,
Group Sequential Methods, 2000, Sec. 4.4). With few seeds that loses something: of 5 % spent on the normal
scale up to 6.2 % become wrong. So 4 % are spent, and at most 5 % are:
tests/verdict/test_sequential.py draws them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from math import e, log, sqrt
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array = NDArray[float64]
from collections.abc import Iterable
from pathlib import Path

import msgspec

from kdbench.errors import UserError
from kdbench.spec.suites import Cell
from kdbench.store.records import write

SPENT = 0.04
"""By the last look, of each one-sided test, on the normal scale."""
NODES = 400
"""Of the integration over the density; 200 give the same levels to 1e-9."""
FAR = 8.0
"""Standard deviations below which the density is nothing."""


class Looks(Struct, frozen=True, kw_only=True):
    """A plan of looks at a row: after `first` seeds, after each further one, at most after `most`."""

    first: Annotated[int, Meta(ge=2)] = 2
    most: Annotated[int, Meta(ge=2, le=50)] = 10


@cache
def levels(looks: Looks) -> Mapping[int, float]:
    """By number of seeds: what the p-value of a one-sided test at this look must not exceed."""
    counts = range(looks.first, looks.most + 1)
    shares = [n / looks.most for n in counts]
    return dict(zip(counts, nominal(shares, [SPENT * log(1 + (e - 1) * x) for x in shares]), strict=True))


def nominal(shares: Sequence[float], spent: Sequence[float]) -> Iterator[float]:
    """The levels of the looks.

    Args:
        shares: of the information at each look, rising to 1.
        spent: how much may have been spent by each look, rising.
    """
    import numpy as np
    from scipy.special import ndtri

    yield spent[0]
    at, weight = _nodes(-ndtri(spent[0]) * sqrt(shares[0]), shares[0])
    mass = weight * np.exp(-(at**2) / (2 * shares[0])) / sqrt(2 * np.pi * shares[0])
    for (before, now), (old, new) in zip(pairwise(shares), pairwise(spent), strict=True):
        step = sqrt(now - before)
        boundary = _boundary(at, mass, step, new - old)
        yield _upper(boundary / sqrt(now))
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


def _upper(z: float) -> float:
    """The chance of a normal value above z."""
    from scipy.special import ndtr

    return float(ndtr(-z))


FOLDER = "looks"


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is looked at after each seed: its plan and its runs, the first `most` seeds'."""

    row: str
    looks: Looks
    runs: tuple[str, ...]


def load_looks(results: Path) -> dict[str, Looks]:
    """The plans there are, by the id of each run that they concern.

    Raises:
        UserError: a file is broken; all of them at once.
    """
    found: dict[str, Looks] = {}
    problems = []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            planned = msgspec.json.decode(path.read_bytes(), type=Planned)
            found |= dict.fromkeys(planned.runs, planned.looks)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(f"{path}: no valid plan of looks: {error}; take it from a backup")
    if problems:
        raise UserError(*problems)
    return found


def files_of(results: Path, runs: Iterable[str]) -> dict[str, bytes]:
    """The files of the plans that concern any of these runs, by their name in a bundle of evidence."""
    load_looks(results)  # says which are broken
    asked = set(runs)
    files = {path: path.read_bytes() for path in sorted((results / FOLDER).glob("*.json"))}
    return {
        f"results/{FOLDER}/{path.name}": content
        for path, content in files.items()
        if asked & set(msgspec.json.decode(content, type=Planned).runs)
    }


def levels_of(planned: Mapping[str, Looks]) -> dict[str, Mapping[int, float]]:
    """The levels of each run's looks, as `check_suite` takes them."""
    return {run: levels(looks) for run, looks in planned.items()}


def record(results: Path, cells: Iterable[Cell], looks: Looks) -> None:
    """Write down, before the first look, how often these rows will be looked at; a plan there is stays.

    Args:
        results: the folder of the results.
        cells: the rows, with the runs of `looks.most` seeds.
        looks: the plan.

    Raises:
        UserError: a row has another plan, which cannot be changed once it was looked at.
    """
    there = load_looks(results)
    cells = list(cells)
    other = {cell.row.name: there[of] for cell in cells for of in cell.ids if there.get(of, looks) != looks}
    if other:
        name, plan = next(iter(other.items()))
        raise UserError(
            f"{name}{f' and {len(other) - 1} more rows' if len(other) > 1 else ''}: planned for at most "
            f"{plan.most} seeds, and a plan cannot be changed after the first look; "
            f"write --max-seeds {plan.most}"
        )
    for cell in cells:
        if cell.ids and cell.ids[0] not in there:
            planned = Planned(row=cell.row.name, looks=looks, runs=cell.ids)
            content = msgspec.json.format(msgspec.json.encode(planned), indent=1) + b"\n"
            write(results / FOLDER / f"{cell.ids[0]}.json", content)
