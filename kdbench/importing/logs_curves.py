"""Stretches of a log -> runs: restarts, missing epochs, two runs in one file, fractions against percent."""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.formatting import spans
from kdbench.importing.logs_files import Point, Stretch

MIXED = 10.0
"""Percent. After so high an accuracy, one below 1 is a fraction among percentages."""


class Curve(Struct, frozen=True, kw_only=True):
    """One run of a log. Accuracies in percent, epochs from 1."""

    place: str
    epochs: tuple[int, ...] = ()
    top1: tuple[float, ...] = ()
    last: float | None = None
    best: float | None = None
    value: float | None = None
    notes: tuple[str, ...] = ()
    """What was noticed: missing epochs, a restart."""
    finished: bool = True


def split(stretch: Stretch) -> list[Sequence[Point]]:
    """The points of each run: one begins wherever the epochs begin again at the file's first one.

    Example: epochs 1 2 3 1 2 3 are two runs; 1 2 3 2 3 4 is one that went on from a checkpoint of epoch 1.
    """
    runs: list[list[Point]] = []
    for point in stretch.points:
        # Logs count from 0 or from 1: 1 begins a run only in a log that has no 0.
        if not runs or (point.epoch <= 1 and point.epoch == runs[0][0].epoch):
            runs.append([])
        runs[-1].append(point)
    return list(runs)


def curves(stretch: Stretch) -> Iterator[Curve]:
    """The runs of a stretch, in their order.

    Raises:
        UserError: the best accuracy that the log states is not that of its epochs.
    """
    if not stretch.points:
        yield Curve(place=stretch.place, last=stretch.last, best=stretch.best, value=stretch.value)
        return
    runs = split(stretch)
    for points in runs:
        by_epoch, notes = _by_epoch(points)
        if min(by_epoch) == 0:
            by_epoch = {epoch + 1: top1 for epoch, top1 in by_epoch.items()}
            notes.append("epochs counted from 0 in the log")
        epochs = sorted(by_epoch)
        if missing := set(range(1, epochs[-1] + 1)) - set(epochs):
            notes.append(f"without epochs {spans(missing, ' to ', ', ')}")
        top1 = tuple(by_epoch[epoch] for epoch in epochs)
        ends_here = points is runs[-1]
        if ends_here:
            notes += _unlike_its_summary(stretch, top1)
        yield Curve(
            place=stretch.place,
            epochs=tuple(epochs),
            top1=top1,
            last=top1[-1],
            best=max(top1),
            notes=tuple(notes),
            finished=stretch.finished is None or (stretch.finished and ends_here),
        )


def _by_epoch(points: Sequence[Point]) -> tuple[dict[int, float], list[str]]:
    """Accuracies by epoch: where a log goes back, what was done again replaces what was done before."""
    found: dict[int, float] = {}
    notes = []
    for point in points:
        if found and point.epoch <= max(found):
            notes.append(f"restarted at epoch {point.epoch} after epoch {max(found)}")
            found = {epoch: top1 for epoch, top1 in found.items() if epoch < point.epoch}
        found[point.epoch] = point.top1
    return found, notes


def _unlike_its_summary(stretch: Stretch, top1: Sequence[float]) -> Iterator[str]:
    """Where a log states another last or best accuracy than its epochs have (0.01: it rounds)."""
    for name, stated, found in (("last", stretch.last, top1[-1]), ("best", stretch.best, max(top1))):
        if stated is not None and abs(stated - found) > 0.0101:
            yield f"the log states {name} {stated:g}, its epochs have {found:g}"


def in_percent(runs: Sequence[Curve], unit: str) -> tuple[list[Curve], str]:
    """The runs of a file in percent, and a sentence where they were fractions.

    Args:
        runs: as the file has them.
        unit: `percent`, `fraction`, or `auto`: fractions where no accuracy of the file is above 1.

    Raises:
        UserError: fractions and percentages are mixed, or an accuracy is outside its range.
    """
    highest = max(max(_values(run)) for run in runs)
    fractions = unit == "fraction" or (unit == "auto" and highest <= 1)
    if unit == "auto" and not fractions:
        _check_unmixed(runs)
    limit = 1 if fractions else 100
    for run in runs:
        wrong = [value for value in _values(run) if not 0 <= value <= limit]
        if wrong:
            what = "fractions" if fractions else "percent"
            raise UserError(f"{run.place}: {wrong[0]:g} is no accuracy in {what} (0 to {limit}); see --unit")
    if not fractions:
        return list(runs), ""
    return [_scaled(run) for run in runs], "fractions, stored as percent (--unit percent if they are not)"


def _check_unmixed(runs: Sequence[Curve]) -> None:
    """Refuse a file in which some accuracies can only be fractions and others can only be percentages."""
    tops = [max(_values(run)) for run in runs]
    if min(tops) <= 1 and max(tops) > MIXED:
        low, high = runs[tops.index(min(tops))], runs[tops.index(max(tops))]
        raise UserError(
            f"{low.place}: at most {min(tops):g}, a fraction, but {max(tops):g}, percent, in {high.place}; "
            "give all one unit, or say --unit percent"
        )
    for run in runs:
        highest = 0.0
        for epoch, top1 in zip(run.epochs, run.top1, strict=True):
            if top1 < 1 and highest > MIXED:
                raise UserError(
                    f"{run.place}: epoch {epoch} has {top1:g} after {highest:g}: fractions and percent are "
                    "mixed; if it is percent, say --unit percent"
                )
            highest = max(highest, top1)


def _values(run: Curve) -> list[float]:
    return [*run.top1, *(value for value in (run.last, run.best, run.value) if value is not None)]


def _scaled(run: Curve) -> Curve:
    known = {name: getattr(run, name) for name in ("last", "best", "value")}
    scaled = {name: _percent(value) for name, value in known.items() if value is not None}
    return replace(run, top1=tuple(map(_percent, run.top1)), **scaled)


def _percent(fraction: float) -> float:
    """0.7137 as 71.37, not 71.37000000000001."""
    return round(100 * fraction, 8)
