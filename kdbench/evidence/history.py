"""A row over the versions of kdbench that trained it, and where its value changed.

Where training is bit-equal, any difference is a change: that is tested first. It is so if some seed gave the
same curve twice, in two versions in a row or in a repeat of one version, and no repeat gave another.

Else versions are compared by a linear model: an accuracy is the sum of its seed's effect, its version's
effect and noise. The versions' effects, one each, are what is tested, so that noise common to a version's
seeds counts as noise. A cut in the sequence is a change point if the effects before and after it differ by a
t test at 5 % over all cuts together (Bonferroni); the surest is taken and both halves are searched again
(binary segmentation). Versions that share no seed, not even through others, cannot be told from their seeds:
each such group has a mean of its own, which costs a degree of freedom: versions - groups - 1.
"""

from collections.abc import Iterable, Iterator, Sequence
from glob import escape
from itertools import pairwise
from math import inf, sqrt
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from kdbench.evidence.trainings import load_trainings
from kdbench.formatting import columns
from kdbench.grouping import grouped
from kdbench.machine import load_machine
from kdbench.plan.expand import expand
from kdbench.plan.lookup import find_trained_row, is_suite
from kdbench.spec.results import Curve, Environment, Result
from kdbench.spec.runs import ReportEpoch
from kdbench.spec.suites import Cell, Variant
from kdbench.store.records import index
from kdbench.suite.load import load_suite
from kdbench.verdict.check import value_at
from kdbench.verdict.stats import mean

LEVEL = 0.05
"""How often a row that never changed is marked as changed, at most."""
TINY = 1e-9
THEN = " then "
"""Between the versions that trained one run after another."""
BARS = "▁▂▃▄▅▆▇█"


class Point(Struct, frozen=True):
    """What one version of kdbench gave."""

    version: str
    """Its commit, or its release where it was no checkout."""
    finished: str
    """When its last training ended, ISO 8601 in UTC; "" where the record does not say."""
    values: dict[int, float]
    """The accuracy by seed, in percent; of several trainings of a seed, their mean."""
    change: float | None = None
    """By how many points it differs from the version before, if this is where the row changed."""
    mixed: bool = False
    """Runs that one version began and another went on with: `version` names both, and neither has them."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return mean(list(self.values.values()))


def history(results: Iterable[Result], report_epoch: ReportEpoch) -> list[Point]:
    """The versions that trained a row, the oldest first, with the change points marked."""
    trained = grouped((version(result), result) for result in results)
    ordered = sorted(trained.items(), key=lambda each: _finished(each[1]))
    points = [_point(name, some, report_epoch) for name, some in ordered]
    whole = [at for at, point in enumerate(points) if not point.mixed]
    compared = [points[at] for at in whole]
    trainings = [ordered[at][1] for at in whole]
    curves = [_curves(some) for some in trainings]
    changes: dict[int, float] = {}
    if compared:
        changes = _differences(compared, curves) if _bit_equal(curves) else steps(compared)
    for place, change in changes.items():
        points[whole[place]] = replace(points[whole[place]], change=change)
    return points


def version(result: Result) -> str:
    """The version of kdbench that trained a result; `A then B` where B went on with a run of A."""
    segments = [each.environment for each in result.segments] or [result.environment]
    return THEN.join(dict.fromkeys(map(_version, segments)))


def _version(known: Environment) -> str:
    """The commit, else the release."""
    commit = str(known.get("commit") or known.get("kdbench") or "unknown")[:12]
    return f"{commit}+changes" if known.get("dirty") else commit


def _finished(results: Iterable[Result]) -> str:
    return max(str(result.environment.get("finished") or "") for result in results)


def _point(name: str, results: Sequence[Result], report_epoch: ReportEpoch) -> Point:
    by_seed = grouped((result.run.seed, result.curve.at(report_epoch)) for result in results)
    values = {seed: mean(some) for seed, some in sorted(by_seed.items())}
    return Point(name, _finished(results), values, mixed=THEN in name)


Curves = dict[int, list[Curve]]
"""What a version gave, by seed: a curve of each training."""


def _curves(results: Iterable[Result]) -> Curves:
    """The curves of each seed."""
    return grouped((each.run.seed, each.curve) for each in results)


def _bit_equal(versions: Sequence[Curves]) -> bool:
    """Whether equal trainings give equal curves, as far as any seed was trained twice."""
    # Repeats first: one that differs proves that training is not bit-equal here, whatever other seeds show.
    repeats = [same for curves in versions for same in curves.values() if len(same) > 1]
    if any(curve != same[0] for same in repeats for curve in same):
        return False
    return bool(repeats) or any(
        curves[0] == after[seed][0]
        for before, after in pairwise(versions)
        for seed, curves in before.items()
        if seed in after
    )


def _differences(points: Sequence[Point], versions: Sequence[Curves]) -> dict[int, float]:
    """By place of the version: the mean difference from what its seeds gave before, where any differs."""
    changes: dict[int, float] = {}
    last: dict[int, tuple[float, Curve]] = {}
    for at, (point, curves) in enumerate(zip(points, versions, strict=True)):
        shared = [seed for seed in point.values if seed in last]
        if any(curves[seed][0] != last[seed][1] for seed in shared):
            changes[at] = mean([point.values[seed] - last[seed][0] for seed in shared])
        # A seed that this version did not train keeps its earlier value: a later version is held against it.
        last |= {seed: (value, curves[seed][0]) for seed, value in point.values.items()}
    return changes


class Effect(NamedTuple):
    """What a version adds to its seeds' values, in percentage points, up to its group's mean."""

    points: float
    group: int
    """Of versions that share seeds, directly or through others."""


def steps(points: Sequence[Point]) -> dict[int, float]:
    """By place of the version: how large the change is, at the change points that a t test finds."""
    effects = _effects(points)
    cuts = sorted(_cuts(effects, 0, len(effects)))
    ends = [0, *cuts, len(effects)]
    sizes = {}
    for place, cut in enumerate(cuts, 1):
        step, _ = _step(effects[ends[place - 1] : cut], effects[cut : ends[place + 1]])
        sizes[cut] = step
    return sizes


def _effects(points: Sequence[Point]) -> list[Effect]:
    """The versions' effects by least squares, beside one for each seed."""
    import numpy as np

    groups = _groups(points)
    seeds = sorted({seed for point in points for seed in point.values})
    values = [(at, seed, value) for at, point in enumerate(points) for seed, value in point.values.items()]
    design = np.zeros((len(values), len(points) + len(seeds)))
    for line, (at, seed, _) in enumerate(values):
        design[line, at] = 1
        design[line, len(points) + seeds.index(seed)] = 1
    # Only differences within a group are determined; of all solutions lstsq takes the shortest.
    found = np.linalg.lstsq(design, np.array([value for _, _, value in values]), rcond=None)[0]
    return [Effect(float(found[at]), group) for at, group in enumerate(groups)]


def _groups(points: Sequence[Point]) -> list[int]:
    """For each version, the first one that it is connected with by seeds in common."""
    groups: list[int] = []
    for at, point in enumerate(points):
        # A version that shares seeds with two groups joins them: all of both get the number of the first.
        met = {groups[before] for before in range(at) if points[before].values.keys() & point.values.keys()}
        first = min(met, default=at)
        groups = [first if group in met else group for group in groups]
        groups.append(first)
    return groups


def _cuts(effects: Sequence[Effect], first: int, last: int) -> list[int]:
    """The change points between two places: the surest, then those of its halves."""
    places = range(first + 1, last)
    found = [(_step(effects[first:cut], effects[cut:last])[1], cut) for cut in places]
    if not found:
        return []
    # The smallest of so many p-values: Bonferroni. A half is searched with its own, smaller number of cuts.
    p, cut = min(found)
    if p * len(places) > LEVEL:
        return []
    return [*_cuts(effects, first, cut), cut, *_cuts(effects, cut, last)]


def _step(before: Sequence[Effect], after: Sequence[Effect]) -> tuple[float, float]:
    """How much higher the effects after a cut are, and the p-value of no step, two-sided.

    Least squares of a step and a mean for each group: with one group the t test of two means.
    """
    from scipy.special import stdtr

    both = [*before, *after]
    points = [effect.points for effect in both]
    late = [0.0] * len(before) + [1.0] * len(after)
    groups = grouped((effect.group, at) for at, effect in enumerate(both))
    y, z = [0.0] * len(both), [0.0] * len(both)  # effects and step, less their group's mean
    for places in groups.values():
        for values, centred in ((points, y), (late, z)):
            center = mean([values[at] for at in places])
            for at in places:
                centred[at] = values[at] - center
    # y = step z + noise: the step is (y z) / (z z), its variance that of the noise over (z z).
    weight = sum(each**2 for each in z)
    degrees = len(both) - len(groups) - 1
    if weight < TINY:
        return 0.0, 1.0  # no group has versions on both sides
    step = sum(one * other for one, other in zip(y, z, strict=True)) / weight
    if degrees < 1 or abs(step) <= TINY:
        return step, 1.0
    squares = sum((one - step * other) ** 2 for one, other in zip(y, z, strict=True))
    error = sqrt(squares / degrees / weight)
    t = abs(step) / error if error > TINY * abs(step) else inf
    return step, 2 * float(stdtr(degrees, -t))


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, from the least to the greatest; "" of none."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


class Past(Struct, frozen=True):
    """A row over the versions of kdbench that trained it."""

    points: list[Point]
    """The versions, the oldest first."""
    damage: tuple[str, ...] = ()
    """What is wrong with records that cannot be read."""


def past(
    address: str, variant: Variant, *, seeds: Sequence[int] | None = None, folders: Sequence[Path] = ()
) -> dict[str, Past]:
    """A row, or each row of a suite that has a run, over the versions of kdbench that trained it.

    Args:
        address: SUITE/ROW, or SUITE.
        variant: as printed or as released.
        seeds: instead of the suite's.
        folders: further results folders, as of other nights, beside this machine's.

    Returns:
        By the row's address.

    Raises:
        UserError: no such row or suite.
    """
    folders = [load_machine().results, *folders]
    rows = {}
    for name, cell in _rows(address, variant, seeds):
        trained: list[Result] = []
        damage: dict[str, None] = {}
        for folder in folders:
            # A record that lies in two folders is one training, and no sign that training is bit-equal.
            found = load_trainings(index(folder), cell.runs, repeats=True)
            trained += [result for result in found.results if result not in trained]
            damage |= dict.fromkeys(found.damaged.values())
        report_epoch = cell.row.report_epoch
        read = [each for each in trained if value_at(each, report_epoch) is not None]
        rows[name] = Past(history(read, report_epoch), tuple(damage))
    return rows


def _rows(address: str, variant: Variant, seeds: Sequence[int] | None) -> Iterator[tuple[str, Cell]]:
    if not is_suite(address):
        suite, cell = find_trained_row(address, variant)
        yield address, expand(suite, variant=variant, rows=escape(cell.row.name), seeds=seeds)[0]
        return
    suite = load_suite(address)
    for cell in expand(suite, variant=variant, seeds=seeds):
        if cell.runs:
            yield f"{address.removesuffix('.toml')}/{cell.row.name}", cell


def describe_past(address: str, found: Past) -> str:
    """A line for each version, the changes marked, a sparkline, and what could not be read."""
    points = found.points
    if not points:
        return "\n".join([f"{address}: not trained yet", *found.damage])
    rows = []
    for point in points:
        seeds = " ".join(f"{seed}:{value:.2f}" for seed, value in point.values.items())
        change = "" if point.change is None else f"changed by {point.change:+.2f}"
        change = "resumed by another version: counts for neither" if point.mixed else change
        rows.append((point.version, point.finished, f"{point.mean:.2f}", seeds, change))
    head = f"{address}  {sparkline([point.mean for point in points if not point.mixed])}".rstrip()
    lines = columns(rows, ["kdbench", "trained until", "mean", "by seed", ""])
    return "\n".join([head, lines, *found.damage])
