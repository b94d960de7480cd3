"""Rows held against their results: the verdicts of docs/verdicts.md, for the accuracy and for the gain.

Pure: cells, results and failures in, checks out, in the order of the cells and in linear time.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import require, require_all
from kdbench.formatting import plural
from kdbench.grouping import grouped
from kdbench.spec.recipes import against
from kdbench.spec.results import Failure, Result
from kdbench.spec.runs import ReportEpoch, Run
from kdbench.spec.suites import Cell, Reference, Row
from kdbench.spec.verdicts import Check, Verdict, Word
from kdbench.verdict.counts import Tally, by_chance, counts, sentence, tallies
from kdbench.verdict.paired import level_of, paired
from kdbench.verdict.sequential import InterimPlan, levels, plan_of
from kdbench.verdict.stats import (
    LOSS,
    MOST_SEEDS,
    NO_PLAN,
    SLACK,
    Levels,
    Spread,
    detection_power,
    equivalence_p,
    error_count_spread,
    half_width,
    mean,
    outside_p,
    seeds_needed,
    spread,
)

BAD = frozenset({Word.BELOW, Word.ABOVE, Word.FAILED, Word.BLOCKED, Word.UNREADABLE})
"""The words that make `kdbench check` exit with 1."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class _Stored(Struct, frozen=True):
    """What is known of the runs, by id."""

    results: Mapping[str, Result]
    failures: Mapping[str, Failure]
    repeats: Mapping[str, Sequence[Result]]
    plans: Mapping[str, InterimPlan]
    unreadable: Mapping[str, str]

    def damage(self, ids: Iterable[str]) -> str:
        """What is wrong with the records of runs that could not be read: once for a file of many of them."""
        return "; ".join(dict.fromkeys(self.unreadable[of] for of in ids if of in self.unreadable))

    def failure(self, of: str) -> Failure | None:
        """Why a run has no result. A result stored since then outweighs an old failure."""
        return None if of in self.results else self.failures.get(of)


def check_suite(
    cells: Iterable[Cell],
    results: Mapping[str, Result],
    failures: Mapping[str, Failure] = _NOTHING,
    repeats: Mapping[str, Sequence[Result]] = _NOTHING,
    plans: Mapping[str, InterimPlan] = _NOTHING,
    unreadable: Mapping[str, str] = _NOTHING,
) -> list[Check]:
    """Hold every row against the results there are, in the order of the cells.

    All are keyed by the id of the run; others than the cells' are not looked at.

    Args:
        cells: the rows with their runs.
        results: what the runs gave.
        failures: why runs have no result.
        repeats: further trainings of the same run.
        plans: of runs that are analysed after each seed, when: `sequential`.
        unreadable: what is wrong with the record of a run that could not be read.

    Raises:
        UserError: cells are no rows, or results do not have ids.
    """
    cells = require_all("cells", cells, Cell, "rows from kdbench.expand")
    require("results", results, Mapping, "results by the id of their run, from kdbench.train_all")
    require_all("results", results.values(), Result, "results by the id of their run, from kdbench.train_all")
    stored = _Stored(results, failures, repeats, plans, unreadable)
    namesakes = grouped((cell.ids, cell.row.name) for cell in cells)
    return [_check(cell, stored, namesakes[cell.ids] if cell.ids else ()) for cell in cells]


def to_train(checks: Iterable[Check]) -> list[Check]:
    """The checks of rows that runs of ours stand for: all but those of released weights."""
    return [check for check in checks if not check.row.released]


def exit_code(checks: Iterable[Check], *, strict: bool = False) -> int:
    """0 when nothing is below, above, failed, blocked or unreadable; 1 otherwise.

    `strict` also wants `reproduced` wherever a number is printed, of the accuracy as of the gain.
    """
    verdicts = [verdict for check in to_train(checks) for verdict in (check.top1, check.gain)]
    bad = any(verdict.word in BAD for verdict in verdicts)
    short = any(v.printed is not None and v.word is not Word.REPRODUCED for v in verdicts)
    return int(bad or (strict and short))


def headline(checks: Iterable[Check]) -> str:
    """How many of the printed accuracies and gains have which verdict, and how many of them by chance."""
    checks = to_train(checks)
    found = tallies(checks)
    parts = [sentence(each, what) for what, each in found.items()]
    # A suite without any printed number is not "0 of 0 reproduced": only what went wrong is counted.
    if checks and not any(each.printed for each in found.values()):
        bad = Counter(check.top1.word for check in checks if check.top1.word in BAD)
        these = "this row" if len(checks) == 1 else f"these {len(checks)} rows"
        return ", ".join([f"Nothing is printed of {these}", *counts(bad)]) + "."
    if bare := [check.top1.word for check in checks if check.top1.printed is None]:
        bad = Counter(word for word in bare if word in BAD)
        parts.append(", ".join([f"{len(bare)} without a printed accuracy", *counts(bad)]))
    return "; ".join(parts) + "." + _caveats(checks, found)


def remarks(checks: Iterable[Check]) -> str:
    """The headline without the counts of verdicts: what stands beside these in a picture."""
    checks = to_train(checks)
    found = tallies(checks)
    within = [
        f"{each.within} of {each.printed} {what} within the tolerance"
        for what, each in found.items()
        if each.printed
    ]
    return ("; ".join(within) + "." if within else "No printed numbers.") + _caveats(checks, found)


def _caveats(checks: Sequence[Check], found: Mapping[str, Tally]) -> str:
    """How many verdicts may be wrong by chance, and how likely a loss is seen."""
    adjusted = any(v.p_adjusted is not None for check in checks for v in (check.top1, check.gain))
    return by_chance(found.values(), adjusted=adjusted) + _power(checks)


def _power(checks: Iterable[Check]) -> str:
    """Of references that kdbench measured itself: how likely a row that loses a point is `below`.

    A nightly is such a suite. By the spreads of both sides and Welch's test, as the verdict.
    """
    powers = []
    for check in checks:
        reference, top1 = check.row.reference, check.top1
        printed = printed_spread(reference)
        if reference.kind == "measured" and printed is not None and top1.std is not None:
            measured = Spread(top1.std, top1.n)
            powers.append(detection_power(LOSS, check.row.tolerance.top1, measured, printed, top1.level))
    if not powers:
        return ""
    share = " to ".join(dict.fromkeys(f"{100 * power:.0f}" for power in (min(powers), max(powers))))
    return f" A row with a measured reference that loses {LOSS:g} point is `below` in {share} % of all cases."


def verdict_of(
    values: Sequence[float],
    printed: float,
    margin: float,
    *,
    error: Spread | None = None,
    seeds: int = 0,
    notes: Sequence[str] = (),
    levels: Levels = NO_PLAN,
) -> Verdict:
    """Hold one value per seed against a printed number: docs/verdicts.md.

    Args:
        values: at least one, in percent (or points, for gains).
        printed: the same, as printed.
        margin: the tolerance, in points.
        error: the printed number's spread; None: it counts as exact.
        seeds: how many values the row asks for.
        notes: what else the reader must know, added to the reason.
        levels: of the planned interim analyses, by number of values, if any are.
    """
    # The word comes from the interval; p says the same as a number: p <= level is "inside" and p_outside <=
    # level "outside" (two one-sided tests and their interval of 1 - 2 level are one thing: Schuirmann 1987).
    difference = mean(values) - printed
    scatter = spread(values)  # None of one value: there is no interval, and the point counts
    level = level_of(levels, len(values))
    half = half_width(scatter, error, level) if scatter else None
    word = _word(difference, half, margin)
    so_far = _so_far(len(values), seeds, levels)
    reasons = [_needed(word, difference, margin, scatter, error, levels), so_far, *notes]
    return Verdict(
        word=word,
        reason="; ".join(filter(None, reasons)),
        printed=printed,
        measured=mean(values),
        std=scatter.std if scatter else None,
        n=len(values),
        interval=None if half is None else (difference - half, difference + half),
        within=abs(difference) <= margin + SLACK,
        p=equivalence_p(difference, margin, scatter, error) if scatter else None,
        p_outside=outside_p(difference, margin, scatter, error) if scatter else None,
        level=level,
        exact=error is None,
    )


def _word(difference: float, half: float | None, margin: float) -> Word:
    """The verdict of an interval difference +- half; None: a single value, no interval and no test.

    With a margin of 0.5: 0.1 +- 0.2 is reproduced, 0.4 +- 0.2 consistent, 0.6 +- 0.2 inconclusive and
    0.9 +- 0.2 above.
    """
    limit = margin + SLACK
    if half is None:
        return Word.CONSISTENT if abs(difference) <= limit else Word.SINGLE_SEED
    if abs(difference) + half <= limit:
        return Word.REPRODUCED
    if abs(difference) <= limit:
        return Word.CONSISTENT
    if abs(difference) - half <= limit:
        return Word.INCONCLUSIVE
    return Word.BELOW if difference < 0 else Word.ABOVE


def count_single_seeds(checks: Iterable[Check]) -> list[Check]:
    """The checks with `single seed, outside` as `below` or `above`: `--single-seed`."""
    return [replace(check, top1=counted(check.top1), gain=counted(check.gain)) for check in checks]


def counted(verdict: Verdict) -> Verdict:
    """A verdict with `single seed, outside` as `below` or `above`."""
    if verdict.word is not Word.SINGLE_SEED or verdict.difference is None:
        return verdict
    return replace(verdict, word=Word.BELOW if verdict.difference < 0 else Word.ABOVE)


def _needed(
    word: Word,
    difference: float,
    margin: float,
    scatter: Spread | None,
    error: Spread | None,
    levels: Levels,
) -> str:
    """What it takes to know more."""
    if scatter is None:
        return "a second seed is needed to know the spread"
    if word is Word.INCONCLUSIVE:
        return "the mean lies outside the tolerance, its interval reaches inside: more seeds are needed"
    if word is not Word.CONSISTENT:
        return ""
    more = seeds_needed(difference, margin, scatter, error, levels)
    if more is None and levels:
        return f"not decided within the {max(levels)} seeds planned, if mean and spread stay"
    if more is None:
        return f"not even {MOST_SEEDS} more seeds would do, if mean and spread stay"
    return f"{more} more {'seed is' if more == 1 else 'seeds are'} needed, if mean and spread stay"


def _so_far(have: int, asked: int, levels: Levels = NO_PLAN) -> str:
    """How many seeds of those asked for; of planned interim analyses also what that makes of the 5 %."""
    if not levels:
        return f"{have} of {asked} seeds so far" if have < asked else ""
    level = level_of(levels, have)
    text = f"analysed after each of at most {max(levels)} seeds: tested at {100 * level:.2g} %"
    if have > 1:
        text += f", an interval of {100 - 200 * level:.3g} %"
    return text


def _check(cell: Cell, stored: _Stored, names: Sequence[str]) -> Check:
    """A row held against what is stored; `names`: the rows of the same runs, itself among them."""
    values = values_of(cell, stored.results)
    gains = _paired(cell, values, stored)
    trained = [stored.results[of] for of in cell.ids if of in stored.results]
    return Check(
        row=cell.row,
        ids=cell.ids,
        top1=_top1(cell, values, stored),
        gain=_gain(cell, values, gains, stored),
        values=values,
        gains=gains,
        report_epochs=dict(_report_epochs(cell, stored)),
        optimism=mean([result.best - result.last for result in trained]) if trained else None,
        best_epochs=dict(_best_epochs(cell, stored)),
        by_class=_by_class(trained),
        same_as=tuple(name for name in names if name != cell.row.name),
        repeats=tuple(_repeats(cell, stored)),
        recipes=_recipes(cell, stored) if gains else "",
        levels=dict(levels(plan_of(cell, stored.plans))),
    )


def _recipes(cell: Cell, stored: _Stored) -> str:
    """How the runs of a row are trained otherwise than those that they gain over.

    Seeds share their recipe, so that the first pair with a result says it for all.
    """
    # Not strict without baselines: a suite may train none of this student, and there are no pairs then.
    pairs = zip(cell.runs, cell.baselines, strict=bool(cell.baselines))
    bases = ((run, stored.results[of].run) for run, of in pairs if of in stored.results)
    return next((against(run.recipe, base.recipe) for run, base in bases), "")


def _means(read: Iterable[tuple[int, float | None]]) -> dict[int, float]:
    """The mean over the rows of a cell by seed: what one seed gave shares its data and its teacher.

    A seed that lacks a row is left out: its mean would be one over other rows.
    """
    found = {}
    for seed, values in grouped(read).items():
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            found[seed] = mean(known)
    return found


def _report_epochs(cell: Cell, stored: _Stored) -> Iterator[tuple[str, float]]:
    """The mean at the last and the best epoch, of held-out images too, and at the row's own."""
    names: list[ReportEpoch] = ["last", "best", cell.row.report_epoch]
    names += ["best_validation"] if cell.row.recipe.validation_size else []
    for report_epoch in dict.fromkeys(names):
        if values := values_of(cell, stored.results, report_epoch):
            yield str(report_epoch), mean(list(values.values()))


def _by_class(trained: Iterable[Result]) -> tuple[float, ...]:
    """The accuracy of each class, mean over the seeds: of 98 0 and 96 2 it is 97 1; empty without records."""
    found = [result.by_class for result in trained if result.by_class]
    return tuple(map(mean, zip(*found, strict=True)))


def _best_epochs(cell: Cell, stored: _Stored) -> Iterator[tuple[int, int]]:
    """By seed; a mean over rows has no epoch of its own."""
    for run in cell.runs:
        result = stored.results.get(run.id)
        if result is not None and not cell.row.mean:
            yield run.seed, result.curve.best_epoch_of(cell.row.ties)


def _repeats(cell: Cell, stored: _Stored) -> Iterator[str]:
    """What runs that were trained again gave: on one machine and version the same, which is counted."""
    same = 0
    for run in cell.runs:
        for number, repeat in enumerate(stored.repeats.get(run.id, ()), 1):
            first = stored.results[run.id]
            pairs = zip(first.curve.top1, repeat.curve.top1, strict=True)
            epoch = next((epoch for epoch, (one, other) in enumerate(pairs, 1) if one != other), None)
            if epoch is None:
                same += 1
            else:
                yield (
                    f"seed {run.seed}, repeat {number}: differs from epoch {epoch} on; "
                    f"last {repeat.last:.2f} against {first.last:.2f}"
                )
    if same:
        yield f"{plural(same, 'further training')} gave the same accuracies after each epoch"


def _top1(cell: Cell, values: Mapping[int, float], stored: _Stored) -> Verdict:
    """The verdict on an accuracy; what stands against there being one comes first."""
    row = cell.row
    reference = row.reference
    # A damaged record counts before all else: the mean of the other seeds would look like a whole answer.
    if damage := stored.damage(cell.ids):
        return Verdict(word=Word.UNREADABLE, reason=damage, printed=reference.top1)
    if not values:
        return _absent(cell, reference.top1, stored)
    notes = [*own_margin(row), *_assumed_std(reference), *_failed_seeds(cell, stored)]
    if reference.top1 is None:
        only = "only the gain is printed" if reference.gain is not None else "no reference accuracy"
        return unreferenced(list(values.values()), [only, _so_far(len(values), row.seeds), *notes])
    error = printed_spread(reference)
    return verdict_of(
        list(values.values()),
        reference.top1,
        row.tolerance.top1,
        error=error,
        seeds=row.seeds,
        notes=notes,
        levels=levels(plan_of(cell, stored.plans), error),
    )


def own_margin(row: Row) -> Iterator[str]:
    """That a row has another tolerance than its suite, and why."""
    if row.tolerance.why:
        yield f"tolerance {row.tolerance.top1:g} (gain {row.tolerance.gain:g}): {row.tolerance.why}"


def _assumed_std(reference: Reference) -> Iterator[str]:
    """That the printed number's spread is not printed but assumed, and after what."""
    spread = printed_spread(reference)
    if reference.errors is not None and spread is not None:
        count = f"{reference.errors} errors of {reference.of:,}"
        yield f"printed: {count}, with a binomial error of {spread.std:.3f} points"
    elif spread is not None and spread.assumed:
        runs = "a single run" if spread.n == 1 else f"the mean of {spread.n} runs"
        source = reference.assumed_std_source
        yield f"the printed number is {runs}, its std assumed to be {spread.std:g}: {source}"


def value_at(result: Result | None, report_epoch: ReportEpoch) -> float | None:
    """The accuracy of a result at an epoch; None without a result or if its curve has no such point."""
    if result is None or not result.curve.has(report_epoch):
        return None
    return result.curve.at(report_epoch)


def values_of(
    cell: Cell, results: Mapping[str, Result], report_epoch: ReportEpoch | None = None
) -> dict[int, float]:
    """The accuracies of a row's runs by seed, as far as there are results: at its own or another epoch."""
    at = cell.row.report_epoch if report_epoch is None else report_epoch
    read = [(run.seed, value_at(results.get(run.id), at)) for run in cell.runs]
    if cell.row.mean:
        return _means(read)
    return {seed: value for seed, value in read if value is not None}


def printed_spread(reference: Reference) -> Spread | None:
    """The printed std and n, where both are there and n lets a std be one; else the assumed std, if any.

    A count of errors has its binomial error.
    """
    if reference.errors is not None and reference.of is not None:
        return error_count_spread(reference.errors, reference.of)
    if reference.std is not None and reference.n is not None and reference.n > 1:
        return Spread(reference.std, reference.n)
    if reference.assumed_std is not None:
        return Spread(reference.assumed_std, reference.n or 1, assumed=True)
    return None


def gain_spread(reference: Reference) -> Spread | None:
    """The std of the gain itself, where it is there; else the student's stands for it.

    For example: 92.98 ± 0.69 (10) gains 0.56 ± 0.55 on a baseline of the same ten seeds. Without the 0.55
    the error of 0.56 would be taken from 0.69, though baseline and student go up and down together.
    """
    if reference.gain_std is not None and reference.n is not None and reference.n > 1:
        return Spread(reference.gain_std, reference.n)
    return printed_spread(reference)


def _gain(cell: Cell, values: Mapping[int, float], gains: Mapping[int, float], stored: _Stored) -> Verdict:
    """Top1 minus the baseline's, or the named row's, of the same seed: the same views scatter less."""
    row, printed = cell.row, cell.row.reference.gain
    if row.is_baseline or (cell.ids and cell.ids == cell.baselines):
        return Verdict(word=Word.NO_REFERENCE)  # a baseline, or a point on its way, gains nothing on itself
    damage = stored.damage((*cell.ids, *cell.baselines))
    if damage and printed is not None:
        return Verdict(word=Word.UNREADABLE, reason=damage, printed=printed)
    if not values and printed is not None:
        return _absent(cell, printed, stored)
    if printed is None:
        return unreferenced(list(gains.values()), ["no reference gain"])
    if not gains:
        return Verdict(word=Word.PENDING, reason=_no_baseline(cell, stored), printed=printed)
    error = gain_spread(row.reference)
    # What was assumed of a spread is said again only where it is the gain's error, too.
    return verdict_of(
        list(gains.values()),
        printed,
        row.tolerance.gain,
        error=error,
        seeds=row.seeds,
        notes=[*own_margin(row), *(_assumed_std(row.reference) if error and error.assumed else ())],
        levels=levels(plan_of(cell, stored.plans), error),
    )


def _paired(cell: Cell, values: Mapping[int, float], stored: _Stored) -> dict[int, float]:
    """The accuracy minus the baseline's, by seed; of a baseline nothing."""
    if cell.row.is_baseline or cell.ids == cell.baselines:
        return {}
    # Both sides at the row's reported epoch: a gain is a difference at one epoch.
    pairs = zip(cell.runs, cell.baselines, strict=bool(cell.baselines))
    at = cell.row.report_epoch
    read = ((run.seed, value_at(stored.results.get(of), at)) for run, of in pairs)
    return paired(values, {seed: base for seed, base in read if base is not None}).by_seed


def _no_baseline(cell: Cell, stored: _Stored) -> str:
    if not cell.baselines:
        return f"the suite has no baseline of {cell.row.student}"
    over = cell.row.over or "the baseline"
    failures = filter(None, map(stored.failure, cell.baselines))
    causes = (f"{over} of seed {f.run.seed} failed: {f.why}" for f in failures)
    return next(causes, f"{over} has no result of these seeds yet")


def unreferenced(values: Sequence[float], reasons: Iterable[str] = ()) -> Verdict:
    """No reference to compare with; what was measured is shown all the same."""
    scatter = spread(values)
    return Verdict(
        word=Word.NO_REFERENCE,
        reason="; ".join(filter(None, reasons)),
        measured=mean(values) if values else None,
        std=scatter.std if scatter else None,
        n=len(values),
    )


def _absent(cell: Cell, printed: float | None, stored: _Stored) -> Verdict:
    """The verdict of a row without any result."""
    if reason := next(_failed_seeds(cell, stored), ""):
        return Verdict(word=Word.FAILED, reason=reason, printed=printed)
    if reason := next(_blocked_seeds(cell, stored), ""):
        return Verdict(word=Word.BLOCKED, reason=reason, printed=printed)
    reason = _not_run(cell.row, any(of in stored.results for of in cell.ids))
    if printed is None:
        return Verdict(word=Word.NO_REFERENCE, reason=f"no reference accuracy; {reason}")
    return Verdict(word=Word.PENDING, reason=reason, printed=printed)


def _not_run(row: Row, ran: bool) -> str:  # noqa: FBT001 - a sentence of a fact
    if row.untrained:
        return row.untrained if row.released else f"kdbench cannot train it: {row.untrained}"
    if ran and row.report_epoch == "best_validation":
        return "its runs held out no images to choose an epoch on"
    return f"the curve ends before epoch {row.report_epoch}" if ran else "not run yet"


def _failed_seeds(cell: Cell, stored: _Stored) -> Iterator[str]:
    for run in cell.runs if stored.failures else ():
        if failure := stored.failure(run.id):
            yield f"seed {run.seed} failed: {failure.why}"


def _blocked_seeds(cell: Cell, stored: _Stored) -> Iterator[str]:
    # Without a failure nothing is blocked, and the teachers' ids need not be computed.
    for run in cell.runs if stored.failures else ():
        failure = _failed_teacher(run, stored) if run.id not in stored.results else None
        if failure:
            teacher = failure.run
            yield f"its teacher {teacher.student} (seed {teacher.seed}) failed: {failure.why}"


def _failed_teacher(run: Run, stored: _Stored) -> Failure | None:
    """The nearest failed run above; one with a result hides what lies above it."""
    while run.teacher and run.teacher.trained:
        run = run.teacher.run
        of = run.id
        if of in stored.results:
            return None
        if failure := stored.failures.get(of):
            return failure
    return None
