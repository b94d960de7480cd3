"""Which runs decide the most for their time: `plan --budget`, `--seeds auto`. Pure; docs/verdicts.md."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan

from msgspec import Struct
from msgspec.structs import replace

from kdbench.formatting import columns, plural
from kdbench.plan.expand import make_plan
from kdbench.plan.selection import Suites
from kdbench.spec.runs import Run
from kdbench.spec.suites import Cell
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.check import gain_spread, printed_spread
from kdbench.verdict.sequential import InterimPlan, levels
from kdbench.verdict.stats import SLACK, Levels, Spread, half_width

DECIDED = frozenset({Word.REPRODUCED, Word.BELOW, Word.ABOVE})
KNOWN = 4
"""So many seeds say enough of the spread to give a row up; two or three may scatter anyhow."""


class Proposal(Struct, frozen=True, kw_only=True):
    """A row that is not decided, and the runs that may decide it."""

    row: str
    top1: Word
    gain: Word
    seeds: tuple[int, ...]
    """Those to train: as many as it takes if mean and spread stay, or what it takes to know them."""
    seconds: float | None
    """Of all runs that these seeds need and nobody has; None: no like of theirs was trained yet."""
    runs: tuple[str, ...]
    """Their ids."""
    sure: bool = True
    """Whether the forecast rests on a measured spread."""


def propose(
    cells: Sequence[Cell],
    checks: Iterable[Check],
    plan: InterimPlan,
    stored: frozenset[str],
    seconds: Callable[[Run], float],
    known: Mapping[str, Run],
) -> list[Proposal]:
    """The rows that more seeds can decide, the cheapest decision first.

    Args:
        cells: the rows with the runs of as many seeds as they may get at most.
        checks: of the same rows, in the same order, at the levels of the plan.
        plan: when they are analysed.
        stored: ids of the runs that have a result.
        seconds: of a run; NaN where nothing like it was trained.
        known: the baselines' runs, by id.
    """
    found = []
    for cell, check in zip(cells, checks, strict=True):
        have = prefix(cell, stored)
        more = _more(cell, check, have, plan)
        if more is None:
            continue
        runs = make_plan([with_baselines(cell, have + more, known)], stored)
        cost = sum(seconds(run) for run in runs)
        found.append(
            Proposal(
                row=cell.row.name,
                top1=check.top1.word,
                gain=check.gain.word,
                seeds=tuple(run.seed for run in cell.runs[have : have + more]),
                seconds=None if isnan(cost) else cost,
                runs=tuple(run.id for run in runs),
                sure=have >= KNOWN,
            )
        )
    return sorted(found, key=lambda each: (each.seconds is None, each.seconds or len(each.runs)))


def afford(proposals: Iterable[Proposal], budget: float) -> list[Proposal]:
    """Those that fit into so many seconds, in their order; runs that two rows share are paid for once.

    What costs nobody knows how much is left out.
    """
    chosen: list[Proposal] = []
    paid: set[str] = set()
    left = budget
    for proposal in proposals:
        if proposal.seconds is None or not proposal.runs:
            continue
        # A run that a row before has paid for costs nothing again; the runs of a proposal count alike.
        new = len([run for run in proposal.runs if run not in paid]) / len(proposal.runs)
        if proposal.seconds * new <= left:
            left -= proposal.seconds * new
            paid.update(proposal.runs)
            chosen.append(proposal)
    return chosen


def prefix(cell: Cell, stored: frozenset[str]) -> int:
    """How many of a row's seeds have a result, counted from the first without a gap."""
    return next((place for place, of in enumerate(cell.ids) if of not in stored), len(cell.ids))


def cut(cell: Cell, seeds: int) -> Cell:
    """A row with its first so many seeds."""
    return replace(cell, runs=cell.runs[:seeds], baselines=cell.baselines[:seeds])


def as_far_as_stored(suites: Suites, stored: frozenset[str], least: int) -> Suites:
    """The rows with the seeds that have results, without a gap; with so many at least."""
    shorter: Suites = []
    for suite, cells in suites:
        lengths = [max(least, prefix(cell, stored)) for cell in cells]
        shorter.append((suite, tuple(map(cut, cells, lengths))))
    return shorter


def with_baselines(cell: Cell, seeds: int, known: Mapping[str, Run]) -> Cell:
    """A row's first seeds and, where a gain is printed, the baselines that it is measured over."""
    short = cut(cell, seeds)
    if cell.row.reference.gain is None:
        return short
    bases = (known[of] for of in short.baselines if of in known)
    return replace(short, runs=(*bases, *short.runs), baselines=())


def _more(cell: Cell, check: Check, have: int, plan: InterimPlan) -> int | None:
    """How many more seeds decide a row; None where it is decided, cannot be, or has nothing to decide."""
    margins, reference = cell.row.tolerance, cell.row.reference
    top1 = (check.top1, margins.top1, printed_spread(reference))
    gain = (check.gain, margins.gain, gain_spread(reference))
    # Settled is what a test has decided, and what nothing is printed of.
    undecided = [
        (verdict, margin, error)
        for verdict, margin, error in (top1, gain)
        if verdict.printed is not None and not (verdict.word in DECIDED and verdict.n >= 2)
    ]
    if not undecided or have >= len(cell.ids):
        return None
    if have < 2:
        return 2 - have
    # What takes longest decides, as the row is open until all of it is decided. No wait: the plan has no
    # analysis at which it would be; with few seeds the spread may still turn out smaller.
    waits = [wait for each in undecided for wait in _waits(*each, have, levels(plan, each[2]))]
    return max(waits, default=1 if have < KNOWN else None)


def _waits(verdict: Verdict, margin: float, error: Spread | None, have: int, at: Levels) -> Iterator[int]:
    """How many more seeds until the interval of an analysis lies on one side, if mean and spread stay."""
    if verdict.difference is None or verdict.std is None:
        yield 1  # the gain of a row whose baseline has not run
        return
    difference = abs(verdict.difference)
    for n, level in at.items():
        if n > have:
            half = half_width(Spread(verdict.std, n), error, level)
            if difference + half <= margin + SLACK or difference - half > margin + SLACK:
                yield n - have
                return


def describe_proposals(chosen: Sequence[Proposal], found: Sequence[Proposal]) -> Iterator[str]:
    """Which seeds to train next, the cheapest decision first, and what they cost in all."""
    if not found:
        yield "nothing to propose: every row is decided, or no seed would decide it"
        return
    rows = []
    for each in chosen:
        seeds = ", ".join(map(str, each.seeds))
        hours = "?" if each.seconds is None else f"{each.seconds / 3600:.2f}"
        why = "" if each.sure else "to know the spread"
        rows.append((each.row, each.top1, each.gain, seeds, len(each.runs), hours, why))
    yield columns(rows, ["row", "verdict", "gain", "seeds", "runs", "hours", ""])
    in_all = sum(each.seconds or 0.0 for each in chosen) / 3600
    unknown = sum(each.seconds is None for each in found)
    yield f"{len(chosen)} of {len(found)} open rows, {in_all:.2f} hours if mean and spread stay"
    if unknown:
        some = plural(unknown, "row")
        yield f"{some} of unknown cost: nothing similar was trained yet; a budget leaves them out"
