"""Author runs and released weights held against the printed numbers, by the rules of our own runs.

Pure: a suite's checks and what is stored beside our runs in, the same checks with `published` out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from kdbench.catalog import unknown
from kdbench.errors import UserError
from kdbench.formatting import plural
from kdbench.spec.author_runs import AuthorRun, AuthorRuns
from kdbench.spec.runs import ReportEpoch
from kdbench.spec.suites import Reference, Row, Suite, gained_over, named
from kdbench.spec.verdicts import Check, Published, Verdict, Word
from kdbench.store.provenance import Provenance
from kdbench.store.released import evaluation_of
from kdbench.verdict.check import own_margin, printed_spread, unreferenced, verdict_of
from kdbench.verdict.counts import by_chance, sentence, tallies
from kdbench.verdict.stats import SLACK, Spread, half_width, mean, spread

Runs = Mapping[int, AuthorRun]
"""The author runs of a row, by their number."""


def with_author_runs(suite: Suite, checks: Iterable[Check], stored: AuthorRuns) -> list[Check]:
    """The checks, each with what the authors published of its row.

    Raises:
        UserError: a run belongs to no row of the suite.
    """
    # Both by the name of a row and the number of a run: {"1/mlp": {1: AuthorRun, 2: ...}}.
    by_row: defaultdict[str, dict[int, AuthorRun]] = defaultdict(dict)
    places: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for each in stored.published:
        for run in each.runs:
            by_row[run.row][run.run] = run
            places[run.row][run.run] = each.source.place(run.path)
    # A mean that the authors published themselves stands; only one that they did not is made of its rows.
    names = [row.name for row in suite.rows]
    for row in suite.rows:
        if row.mean and row.name not in by_row:
            _add_means(row, suite, by_row, places)
    for name in by_row:
        if name not in names:
            raise UserError(
                f"results/author_runs/{suite.name}.json: {unknown('row', name, names)}; import its log again"
            )

    over = gained_over(suite.rows)

    def beside(check: Check) -> Check:
        row = check.row
        runs = by_row.get(row.name)
        if not runs:
            return check
        published = _published(row, dict(sorted(runs.items())), by_row.get(over.get(row.name, ""), {}))
        sources = dict.fromkeys(places[row.name][number] for number in sorted(runs))
        return replace(check, published=replace(published, sources=tuple(sources)))

    return [beside(check) for check in checks]


def _add_means(
    row: Row, suite: Suite, by_row: dict[str, dict[int, AuthorRun]], places: dict[str, dict[int, str]]
) -> None:
    """The author runs of a mean over rows, made of the runs that all of these rows have: number by number.

    The runs of one number share their data and their teacher, so that their mean is one value.
    """
    # An entry of `mean` is a row or a glob: `["1/mlp", "2/*"]`.
    rows = dict.fromkeys(each.name for entry in row.mean for each in named(suite.rows, entry))
    theirs = [by_row[name] for name in rows if name in by_row]
    # Not of some of the rows: such a mean would be one over other rows than the printed one.
    if len(theirs) < len(rows):
        return
    for number in sorted(set.intersection(*(set(runs) for runs in theirs))):
        same = [runs[number] for runs in theirs]
        by_row[row.name][number] = AuthorRun(
            row=row.name,
            run=number,
            last=_mean_of([run.last for run in same]),
            best=_mean_of([run.best for run in same]),
            value=_mean_of([run.value for run in same]),
        )
        places[row.name][number] = places[next(iter(rows))][number]


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def with_released_weights(
    suite: Suite, checks: Iterable[Check], stored: dict[Path, Provenance]
) -> list[Check]:
    """The checks, each row of released weights with what they gave when kdbench evaluated them."""

    def beside(check: Check) -> Check:
        row = check.row
        if not row.released:
            return check
        found = evaluation_of(suite.imported[row.released], suite.dataset, stored)
        if found is None:
            return check
        _, evaluation = found
        value = evaluation.top1[suite.dataset]
        published = Published(
            kind="released weights",
            top1=_evaluated(value, row),
            gain=Verdict(word=Word.NO_REFERENCE),
            values={0: value},
            sources=(evaluation.source.origin or evaluation.source.file,),
            notes=(f"{evaluation.images:,} test images, sha256 {evaluation.source.sha256[:12]}",),
        )
        return replace(check, published=published)

    return [beside(check) for check in checks]


def _evaluated(value: float, row: Row) -> Verdict:
    """The verdict of an evaluation: the same weights and images give the same number, so one value is all.

    There is no spread to test: within the tolerance it is reproduced, outside it is not.
    """
    printed = row.reference.top1
    if printed is None:
        return Verdict(word=Word.NO_REFERENCE, measured=value, n=1)
    difference = value - printed
    within = abs(difference) <= row.tolerance.top1 + SLACK
    outside = Word.BELOW if difference < 0 else Word.ABOVE
    return Verdict(
        word=Word.REPRODUCED if within else outside,
        reason="; ".join(["an evaluation has no seed: nothing in it is random", *own_margin(row)]),
        printed=printed,
        measured=value,
        n=1,
        within=within,
    )


def _published(row: Row, runs: Runs, baseline: Runs) -> Published:
    """The author runs of a row, judged beside ours."""
    values = _values(runs, row.report_epoch)
    bases = _values(baseline, row.report_epoch)
    gains = {number: value - bases[number] for number, value in values.items() if number in bases}
    # Runs of one number share their data and their teacher, as seeds of ours do: gains are paired by it.
    optimism = [run.best - run.last for run in runs.values() if run.last is not None and run.best is not None]
    notes = [*_protocol(row, runs), *(run.note for run in runs.values() if run.note)]
    reference = row.reference
    return Published(
        kind="author run",
        top1=_verdict(
            values, reference.top1, row.tolerance.top1, row, error=printed_spread(reference), notes=notes
        ),
        gain=_verdict(gains, reference.gain, row.tolerance.gain, row),
        values=values,
        gains=gains,
        report_epochs=dict(_report_epochs(row, runs)),
        optimism=mean(optimism) if optimism else None,
        epochs=tuple(sorted({run.last_epoch for run in runs.values()} - {0})),
        notes=tuple(dict.fromkeys(notes)),
    )


def _values(runs: Runs, report_epoch: ReportEpoch) -> dict[int, float]:
    """The accuracies at a reported epoch; one that is published without an epoch stands for any."""
    found = {}
    for number, run in runs.items():
        value = run.at(report_epoch)
        if value is None:
            value = run.value
        if value is not None:
            found[number] = value
    return found


def _report_epochs(row: Row, runs: Runs) -> Iterator[tuple[str, float]]:
    for report_epoch in dict.fromkeys(("last", "best", row.report_epoch)):
        values = [run.at(report_epoch) for run in runs.values()]
        known = [value for value in values if value is not None]
        if known:
            yield str(report_epoch), mean(known)


def _protocol(row: Row, runs: Runs) -> Iterator[str]:
    """Where the authors trained for another number of epochs than the row says."""
    epochs = sorted({run.last_epoch for run in runs.values()} - {0, row.recipe.epochs})
    if epochs:
        logged = " and ".join(map(str, epochs))
        yield f"protocol: logged for {logged} epochs, the row trains {row.recipe.epochs}"


def _verdict(
    values: Mapping[int, float],
    printed: float | None,
    margin: float,
    row: Row,
    *,
    error: Spread | None = None,
    notes: Sequence[str] = (),
) -> Verdict:
    """The values of author runs against what is printed, as our own would be."""
    measured = list(values.values())
    if printed is None:
        return unreferenced(measured)
    if not measured:
        reason = f"nothing is published at the reported epoch {row.report_epoch}"
        return Verdict(word=Word.PENDING, reason=reason, printed=printed)
    return verdict_of(measured, printed, margin, error=error, notes=[*own_margin(row), *notes])


def of_authors(checks: Iterable[Check]) -> list[Check]:
    """The rows that have author runs, as if these were the rows' own: for claims and tables of them alone."""
    return [
        replace(
            check,
            ids=(),
            top1=check.published.top1,
            gain=check.published.gain,
            values=check.published.values,
            gains=check.published.gains,
            report_epochs=check.published.report_epochs,
            optimism=check.published.optimism,
            same_as=(),
            repeats=(),
        )
        for check in checks
        if check.published is not None
    ]


def is_reference(check: Check) -> bool:
    """Whether a row's printed number was made of the very author runs that stand beside it.

    It is where the runs' own mean, std and number, as rounded in print, are the reference's: these runs
    cannot bear it out. For example, 80.06 ± 1.17 (10) is the mean of ten values that the authors published.
    """
    published = check.published
    return published is not None and _is_mean_of(check.row.reference, list(published.values.values()))


def is_own_reference(check: Check) -> bool:
    """Whether a row's reference is kdbench's own, and was made of the very runs that are stored: as above."""
    reference = check.row.reference
    return reference.kind == "measured" and _is_mean_of(reference, list(check.values.values()))


def _is_mean_of(reference: Reference, values: Sequence[float]) -> bool:
    """Whether a reference's mean, std and number are those of these values, rounded as in print."""
    scatter = spread(values)
    if reference.top1 is None or reference.std is None:
        return False
    if scatter is None or reference.n != scatter.n:
        return False
    off = (mean(values) - reference.top1, scatter.std - reference.std)
    return max(map(abs, off)) <= _ROUNDED


_ROUNDED = 0.005 + SLACK
"""Points by which a figure of two decimals may miss what it was rounded from."""


def for_both(checks: Sequence[Check], change: Callable[[Iterable[Check]], list[Check]]) -> list[Check]:
    """The checks with a change of verdicts made to ours and, apart from these, to those of author runs.

    Two calls, as Holm's adjustment depends on how many verdicts it is given: those of the authors must not
    make ours weaker.
    """
    theirs = {check.row.name: check for check in change(of_authors(checks))}
    changed = []
    for check in change(checks):
        published = check.published
        if published is not None:
            other = theirs[check.row.name]
            published = replace(published, top1=other.top1, gain=other.gain)
        changed.append(replace(check, published=published))
    return changed


def published_headline(checks: Iterable[Check]) -> str:
    """How many printed numbers each kind of evidence bears out; "" without any.

    Ours are counted by `check.headline`, apart from these.
    """
    checks = list(checks)
    return " ".join(filter(None, (_headline(kind, checks) for kind in NAMES)))


NAMES = {
    "author run": "Author runs, not trained by kdbench",
    "released weights": "Released weights, evaluated by kdbench",
}
"""The kinds of evidence beside our own runs, as a headline has them."""


def _headline(kind: str, checks: Iterable[Check]) -> str:
    """How many of the authors' runs, or evaluations, came out; "" where there are none."""
    of_kind = [check for check in checks if check.published and check.published.kind == kind]
    if not of_kind:
        return ""
    theirs = of_authors(of_kind)
    judged = of_authors(check for check in of_kind if not is_reference(check))
    found = tallies(judged)
    parts = [sentence(each, what) for what, each in found.items() if each.printed]
    if not_judged := len(theirs) - len(judged):
        parts.append(f"{not_judged} not counted: their printed numbers are the means of these runs")
    runs = sum(len(check.values) for check in theirs)
    adjusted = any(check.top1.p_adjusted is not None for check in judged)
    counted = "; ".join(parts) or "none of them has a printed number"
    chance = by_chance(found.values(), adjusted=adjusted)
    what = "run" if kind == "author run" else "evaluation"
    counts = f"{plural(runs, what)} of {plural(len(theirs), 'row')}"
    return f"{NAMES[kind]} ({counts}): {counted}.{chance}"


class LastOrBest(Struct, frozen=True, kw_only=True):
    """What author curves say of which epoch is printed. Differences are means over rows, in points."""

    rows: int
    """Rows with a printed number and the last and best accuracies of author runs."""
    nearer_best: int
    nearer_last: int
    over_last: float
    """Printed minus last."""
    half_last: float
    """Half the 90 % interval of `over_last`; 0 for a single row."""
    over_best: float
    """Printed minus best."""
    half_best: float
    single: int
    """Rows with one run each."""
    optimism: float | None
    """Best minus last over these."""


def last_or_best(checks: Iterable[Check]) -> LastOrBest | None:
    """Hold the printed numbers against the last and the best epochs of author runs; None without any.

    A row with several runs counts once, with their means. Rows that report an epoch on the way are left out.
    """
    found = []
    single = []
    for check in of_authors(checks):
        printed = check.row.reference.top1
        last = check.report_epochs.get("last")
        best = check.report_epochs.get("best")
        if printed is None or last is None or best is None or isinstance(check.row.report_epoch, int):
            continue
        found.append((printed - last, printed - best))
        if len(check.values) == 1:
            single.append(best - last)
    if not found:
        return None
    over_last = [one for one, _ in found]
    over_best = [other for _, other in found]
    nearer = [abs(one) - abs(other) for one, other in found]
    return LastOrBest(
        rows=len(found),
        nearer_best=sum(each > SLACK for each in nearer),
        nearer_last=sum(each < -SLACK for each in nearer),
        over_last=mean(over_last),
        half_last=_half(over_last),
        over_best=mean(over_best),
        half_best=_half(over_best),
        single=len(single),
        optimism=mean(single) if single else None,
    )


def _half(differences: Sequence[float]) -> float:
    scatter = spread(differences)
    return half_width(scatter) if scatter else 0.0
