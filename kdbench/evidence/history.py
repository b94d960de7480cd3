"""A row over the versions of kdbench that trained it, and where its value changed.

A seed's values are compared with each other alone: its mean over the versions is taken off, so that the
seeds' own scatter hides no change. A cut in the sequence is a change point if the means before and after
differ by a t test on what is left (pooled variance; N - 1 - seeds degrees of freedom), at 5 % over all cuts
together (Bonferroni); the surest is taken and both halves are searched again (binary segmentation). Where
training is bit-equal, what is left has no scatter and any difference is a change.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf, sqrt

from msgspec import Struct

from kdbench.spec.results import Result
from kdbench.spec.runs import ReportEpoch
from kdbench.verdict.stats import mean

LEVEL = 0.05
"""How often a row that never changed is marked as changed, at most."""
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

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return mean(list(self.values.values()))


def history(results: Iterable[Result], report_epoch: ReportEpoch) -> list[Point]:
    """The versions that trained a row, the oldest first, with the change points marked."""
    trained: defaultdict[str, list[Result]] = defaultdict(list)
    for result in results:
        trained[version(result)].append(result)
    points = sorted(
        (_point(name, some, report_epoch) for name, some in trained.items()), key=lambda p: p.finished
    )
    return _marked(points)


def version(result: Result) -> str:
    """The commit of kdbench that trained a result, else its release."""
    known = result.environment
    commit = str(known.get("commit") or known.get("kdbench") or "unknown")[:12]
    return f"{commit}+changes" if known.get("dirty") else commit


def _point(name: str, results: Sequence[Result], report_epoch: ReportEpoch) -> Point:
    by_seed: defaultdict[int, list[float]] = defaultdict(list)
    for result in results:
        by_seed[result.run.seed].append(result.curve.at(report_epoch))
    finished = max(str(result.environment.get("finished") or "") for result in results)
    return Point(name, finished, {seed: mean(values) for seed, values in sorted(by_seed.items())})


def _marked(points: list[Point]) -> list[Point]:
    left = _without_seeds(points)
    cuts = sorted(_cuts(left, 0, len(left)))
    ends = [0, *cuts, len(left)]
    levels = (
        [mean([value for part in left[a:b] for value in part]) for a, b in pairwise(ends)] if left else []
    )
    jumps = {cut: after - before for cut, (before, after) in zip(cuts, pairwise(levels), strict=True)}
    return [Point(p.version, p.finished, p.values, jumps.get(at)) for at, p in enumerate(points)]


def _without_seeds(points: Sequence[Point]) -> list[list[float]]:
    """Each value minus the mean of its seed over all versions that have it."""
    seeds: defaultdict[int, list[float]] = defaultdict(list)
    for point in points:
        for seed, value in point.values.items():
            seeds[seed].append(value)
    usual = {seed: mean(values) for seed, values in seeds.items()}
    return [[value - usual[seed] for seed, value in point.values.items()] for point in points]


def _cuts(left: Sequence[Sequence[float]], first: int, last: int) -> list[int]:
    """The change points between two places: the surest, then those of its halves."""
    places = range(first + 1, last)
    found = [(_p(left[first:cut], left[cut:last]), cut) for cut in places]
    if not found:
        return []
    p, cut = min(found)
    if p * len(places) > LEVEL:
        return []
    return [*_cuts(left, first, cut), cut, *_cuts(left, cut, last)]


def _p(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> float:
    """The p-value of equal means, two-sided."""
    from scipy.special import stdtr

    one, other = ([value for part in side for value in part] for side in (before, after))
    seeds = max(len(part) for part in (*before, *after))
    degrees = len(one) + len(other) - 1 - seeds
    if degrees < 1:
        return 1.0
    difference = abs(mean(one) - mean(other))
    squares = sum((value - mean(side)) ** 2 for side in (one, other) for value in side)
    error = sqrt(squares / degrees * (1 / len(one) + 1 / len(other)))
    if difference <= 1e-9:
        return 1.0
    t = difference / error if error > 1e-9 * difference else inf
    return 2 * float(stdtr(degrees, -t))


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, from the least to the greatest."""
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)
