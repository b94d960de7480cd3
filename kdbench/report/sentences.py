"""What a report says in words, as plain text: each format escapes it in its own way."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from kdbench.formatting import plural, signed
from kdbench.grouping import grouped
from kdbench.report.words import report_epoch, setting
from kdbench.spec.recipes import differing, shown
from kdbench.spec.suites import Delta, Row, Suite
from kdbench.spec.verdicts import Check
from kdbench.verdict.stats import mean

_LEGEND = """\
Accuracies in percent, gains and differences in percentage points. {Against}: the mean and, where given, ± the
standard deviation and in brackets the number of runs. Measured: the mean over the seeds, ± half the 90 %
interval of the difference, and in brackets the number of seeds. Difference: measured minus {against}.
Verdict: `reproduced` and `consistent` lie within the tolerance; `inconclusive`, `below`, `above` and
`single seed, outside` do not."""

BARE_LEGEND = """\
Accuracies in percent, gains over the baseline of the same seeds in percentage points: the mean over the
seeds, ± half its 90 % interval, and in brackets the number of seeds."""
"""Of a suite of which nothing is printed."""


def legend(against: str) -> str:
    """How tables of rows are read, in Markdown; `against`: what they call the numbers of the reference."""
    return _LEGEND.format(Against=against.capitalize(), against=against)


def subject(suite: Suite, variant: str) -> str:
    """What a report is about: data set, form, suite, paper and code."""
    places = (f"arXiv {suite.arxiv}" if suite.arxiv else "", suite.code)
    return ", ".join(
        [f"data set {suite.dataset}", f"as {variant}", f"suite {suite.name}", *filter(None, places)]
    )


def who_by_setting(rows: Sequence[Row]) -> dict[str, str]:
    """By row: `mobilenetv2, alpha 0.9, lr 0.01`, its student and what sets it apart in its table."""
    own = _own_settings(rows)
    return {row.name: ", ".join([row.shown, *own[row.name]]) for row in rows}


def rows_by_setting(checks: Iterable[Check]) -> dict[str, str]:
    """By row: `1.kd/mobilenetv2, alpha 0.9, lr 0.01`, its name and what sets it apart in its table."""
    found: dict[str, str] = {}
    for rows in grouped((check.row.table, check.row) for check in checks).values():
        for name, own in _own_settings(rows).items():
            found[name] = ", ".join([name, *own])
    return found


def _own_settings(rows: Sequence[Row]) -> dict[str, list[str]]:
    """By row of a table: what it has of the loss and of the recipe, as far as the rows differ in them.

    Rows of `kd` with several `alpha` give `["alpha 0.9"]`; where the losses are several, each is named whole:
    `["kd (alpha 0.9, tau 4)", "lr 0.01"]`.
    """
    # A parameter that all rows share stands with the table; only what differs distinguishes its rows.
    fields = differing(row.recipe for row in rows)
    losses = [row.loss for row in rows if not row.mean]  # a mean over other tables' rows has none of its own
    several = len({loss.name for loss in losses}) > 1
    values = grouped(param for loss in losses for param in loss.params.items())
    differ = [name for name, each in values.items() if len(set(each)) > 1]
    found = {}
    for row in rows:
        params = row.loss.params
        given = [f"{name} {params[name]:g}" for name in differ if name in params]
        own = setting(row.loss) if several else ", ".join(given)
        if row.mean:
            own = ""
        found[row.name] = [text for text in (own, shown(row.recipe, fields)) if text]
    return found


def altered(options: str) -> str:
    """What stands on top of a report of runs that the suite does not have; "" of the suite's own."""
    if not options:
        return ""
    why = "other runs than the paper's"
    if "--smoke" in options:
        why = "a short training on few images, which shows that rows train and nothing else"
    return f"Trial ({options}): {why}. No number here is held against a printed one."


def _losses(rows: Sequence[Row]) -> str:
    """`kd (alpha 0.9, tau of each row)`: what the losses of a table share; its rows name what differs."""
    losses = [row.loss for row in rows if not row.mean] or [row.loss for row in rows]
    names = dict.fromkeys(loss.name for loss in losses)
    if len(names) > 1:
        return f"{', '.join(names)} (parameters of each row)"
    values = grouped(param for loss in losses for param in loss.params.items())
    same = {name: len({*each}) == 1 for name, each in values.items()}
    params = ", ".join(
        f"{name} {values[name][0]:g}" if same[name] else f"{name} of each row" for name in values
    )
    return f"{losses[0].name} ({params})" if params else losses[0].name


def settings(rows: Sequence[Row], recipe_fields: Sequence[str] = ()) -> str:
    """The losses, recipes, reported epochs, tolerances and numbers of seeds of a table, each named once.

    Args:
        rows: of the table.
        recipe_fields: in which the rows of the report differ: the table says what all of its rows have.
    """
    own = differing(row.recipe for row in rows)
    common = shown(rows[0].recipe, [name for name in recipe_fields if name not in (*own, "epochs")])
    recipe = f"Recipe: {common}. " if common else ""
    epochs = " or ".join(dict.fromkeys(str(row.recipe.epochs) for row in rows))
    report_epochs = " or ".join(dict.fromkeys(map(report_epoch, rows)))
    judged = [row for row in rows if row.reference.is_given]
    margins = " or ".join(
        dict.fromkeys(f"{row.tolerance.top1:g} (gain {row.tolerance.gain:g})" for row in judged)
    )
    tolerance = f"Tolerance: {margins}. " if judged else ""
    seeds = " or ".join(dict.fromkeys(plural(row.seeds, "seed") for row in rows))
    asked = f"{tolerance}Asked: {seeds}."
    return f"Loss: {_losses(rows)}. Epochs: {epochs}. {recipe}Reported epoch: {report_epochs}. {asked}"


def exactness(checks: Sequence[Check]) -> str:
    """That printed means count as exact, where any do; "" where none does."""
    held = [check.top1 for check in checks if check.top1.printed is not None]
    if not any(verdict.exact for verdict in held):
        return ""
    whole = all(verdict.exact for verdict in held)
    which = "The printed means" if whole else "Printed means without a printed std and number of runs"
    with_std = any(
        check.top1.exact and check.top1.printed is not None and check.row.reference.std is not None
        for check in checks
    )
    lacks = "their error is not printed"
    if with_std:
        lacks = "a std alone, without its number of runs, gives no error"
    return f"{which} count as exact: {lacks}."


def who(row: Row) -> str:
    """`mobilenetv2 from resnet18`."""
    return f"{row.shown} from {row.teacher}" if row.teacher else row.shown


def notes(check: Check) -> Iterator[str]:
    """What a row says in words."""
    row = check.row
    yield from reasons(check)
    if row.sic:
        yield "the printed gain is not value minus baseline; it stands as printed"
    if row.over and row.reference.gain is not None:
        yield f"the printed and the measured gain are over {row.over}, not the baseline"
    if check.recipes:
        yield f"the gain is over a run of another recipe: {check.recipes}"
    if row.reference.kind != "printed" and row.reference.is_given:
        source = f": {row.reference.source}" if row.reference.source else ""
        yield f"reference {row.reference.kind}{source}"
    if row.assumed:
        yield f"assumed: {row.assumed}"
    if row.note:
        yield row.note
    if check.by_class:
        classes = ", ".join(f"{number} {top1:.2f}" for number, top1 in enumerate(check.by_class))
        yield f"accuracy by class: {classes}"
    if row.report_epoch == "best" and check.best_epochs:
        epochs = ", ".join(f"{epoch} (seed {seed})" for seed, epoch in check.best_epochs.items())
        yield f"best at epoch {epochs}"
    yield from _copied(check)
    if check.same_as:
        yield f"same runs as {', '.join(check.same_as)}"
    yield from check.repeats


def _copied(check: Check) -> Iterator[str]:
    if check.row.copied_from:
        yield f"its number is copied from {check.row.copied_from}"
    if check.copies:
        yield f"its number is copied by {'; '.join(check.copies)}"


def shared_notes(checks: Sequence[Check]) -> Iterator[tuple[str, str]]:
    """What rows say, each sentence once, after the rows that say it; of several tables by whole names."""
    several = len({check.row.table for check in checks}) > 1
    names = {check.row.name: check.row.name if several else who(check.row) for check in checks}
    by_note = grouped((text, names[check.row.name]) for check in checks for text in notes(check))
    for text, rows in by_note.items():
        yield "all rows" if len(rows) == len(checks) > 1 else ", ".join(rows), text


def reasons(check: Check) -> list[str]:
    """What both verdicts say in words; the gain's only where it says something else."""
    top1, gain = check.top1.reason, check.gain.reason
    if gain in {"", top1} or check.gain.printed is None:
        return [top1] if top1 else []
    return [text for text in (top1, f"gain: {gain}") if text]


def without_reference(checks: Iterable[Check]) -> list[Check]:
    """The checks of rows of which nothing is printed, without the words that say so of each row again."""
    found = []
    for check in checks:
        reason = check.top1.reason.removeprefix("no reference accuracy").removeprefix("; ")
        found.append(replace(check, top1=replace(check.top1, reason=reason)))
    return found


def optimism(checks: Iterable[Check]) -> str:
    """How far best lies above last: the mean over runs, each counted once however many rows share it."""
    runs = {check.ids: check.optimism for check in checks}
    known = [points for points in runs.values() if points is not None]
    if not known:
        return ""
    return f"The best epoch on test lies {signed(mean(known))} points above the last {_over(known)}."


def validation(checks: Iterable[Check]) -> str:
    """What choosing the epoch on test was worth against choosing it on held-out images, as `optimism`."""
    worth = {}
    for check in checks:
        if {"best", "best_validation"} <= check.report_epochs.keys():
            worth[check.ids] = check.report_epochs["best"] - check.report_epochs["best_validation"]
    points = list(worth.values())
    if not points:
        return ""
    worth_it = f"is worth {signed(mean(points))} points {_over(points)}"
    return f"Choosing the epoch on test instead of held-out training images {worth_it}."


def _over(points: Sequence[float]) -> str:
    """Behind a mean: over how many trainings it is, and between what."""
    trainings = f"mean over {plural(len(points), 'training')}, each the mean of its seeds"
    return f"({trainings}; from {signed(min(points))} to {signed(max(points))})"


def shared_teacher(suite: Suite, checks: Iterable[Check]) -> str:
    """That one teacher has taught all seeds of a row, where the suite says so."""
    taught = any(check.row.teacher_student for check in checks)
    if suite.teacher_seed is None or not taught:
        return ""
    return (
        f"All seeds of a row learn from one teacher, that of seed {suite.teacher_seed}: the spread over "
        f"seeds does not contain the teacher's, so another teacher may give a mean outside the intervals."
    )


def on_the_numbers(suite: Suite, checks: Sequence[Check]) -> list[str]:
    """What the rows of a report together say of their epochs and of their spread."""
    found = (optimism(checks), validation(checks), shared_teacher(suite, checks))
    return [text for text in found if text]


def delta(of: Delta) -> str:
    """What the released code does instead of what is printed, where, and why that counts."""
    changes = {**of.recipe, **of.params}
    what = [f"{name} = {value}" for name, value in changes.items()]
    what += [f"loss {name} becomes {other}" for name, other in of.loss.items()]
    what += [f"teachers are taken at {of.teacher}"] if of.teacher else []
    what += [f"epoch {printed} is after {epoch}" for printed, epoch in of.epoch.items()]
    where = [f"{key} {' or '.join(values)}" for key, values in of.where.items()]
    changed = "; ".join(what) + (f" (where {', '.join(where)})" if where and what else "")
    return f"{changed}. {of.why}" if changed else of.why
