"""A row as the authors' code has it: what the deltas that concern it change; the later one counts."""

from typing import Any

from msgspec.structs import replace

from kdbench.spec.runs import Loss, ReportEpoch
from kdbench.spec.suites import Formula, Row, Suite


def released(suite: Suite, row: Row) -> tuple[dict[str, Any], Loss, ReportEpoch]:
    """A row as the authors' code has it: what deltas change in its recipe, its loss, its teacher's epoch."""
    recipe: dict[str, Any] = {}
    params: dict[str, float] = {}
    name, checkpoint = row.loss.name, suite.teacher
    own = row.teacher.epoch if row.teacher else None
    for delta in suite.deltas:
        if delta.concerns(row):
            recipe |= delta.recipe
            params |= delta.params
            name = delta.loss.get(row.loss.name, name)
            checkpoint = delta.teacher or checkpoint
    if own is not None:
        checkpoint = released_epoch(suite, row, own)
    return recipe, Loss(name, {**row.loss.params, **params}), checkpoint


def released_epoch(suite: Suite, row: Row, printed: ReportEpoch) -> ReportEpoch:
    """After which epoch the code's checkpoint is that a row names: 51 for 50, where a delta says so."""
    epoch = printed
    for delta in suite.deltas:
        if delta.concerns(row):
            epoch = delta.epoch.get(str(printed), epoch)
    return epoch


def released_dataset(suite: Suite, row: Row, printed: str) -> str:
    """The data set that the authors' code takes for the one that a row prints."""
    dataset = printed
    for delta in suite.deltas:
        if delta.concerns(row):
            dataset = delta.dataset.get(printed, dataset)
    return dataset


def loss_read_by(formula: Formula, suite: Suite, row: Row) -> Loss:
    """The loss of a row by one reading of its printed formula, whichever variant is trained."""
    return released(replace(suite, deltas=(formula.delta,)), row)[1]
