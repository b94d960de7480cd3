"""The nouns of what was trained: curves, results, failures."""

from msgspec import Struct, field

from kdbench.quantities import Line, Percent, Positive
from kdbench.spec.runs import ReportEpoch, Run, Ties
from kdbench.spec.weights import Digest

RESULT_SCHEMA = 2
"""The version of the JSON of a stored result."""


class Curve(Struct, frozen=True, omit_defaults=True):
    """What each epoch gave: `top1[e - 1]` is the test accuracy after epoch e."""

    top1: tuple[Percent, ...]
    test_loss: tuple[float, ...]
    train_loss: tuple[float, ...]
    seconds: tuple[float, ...]
    validation_top1: tuple[Percent, ...] = ()
    """The accuracy on held-out training images; empty where none were held out."""

    def has(self, report_epoch: ReportEpoch) -> bool:
        """Whether there is such a point."""
        if report_epoch == "best_validation":
            return bool(self.validation_top1)
        return not isinstance(report_epoch, int) or report_epoch <= len(self.top1)

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are kept as the best: of several equal ones the latest."""
        return self.best_epoch_of("latest")

    def best_epoch_of(self, ties: Ties) -> int:
        """The epoch of the best test accuracy: of 50, 70, 70, 60 the second or (latest) the third."""
        if ties == "earliest":
            return self.top1.index(max(self.top1)) + 1
        return _latest_best(self.top1)

    def at(self, report_epoch: ReportEpoch) -> float:
        """The accuracy at a reported epoch.

        Raises:
            IndexError: the curve has no such epoch.
        """
        if report_epoch == "last":
            return self.top1[-1]
        if report_epoch == "best":
            return self.top1[self.best_epoch - 1]
        if report_epoch == "best_validation":
            if not self.validation_top1:
                raise IndexError("no images were held out")
            return self.top1[_latest_best(self.validation_top1) - 1]
        return self.top1[report_epoch - 1]


def _latest_best(top1: tuple[float, ...]) -> int:
    """The epoch of the largest accuracy; of several, the latest."""
    return len(top1) - top1[::-1].index(max(top1))


Environment = dict[Line, Line | int | float | bool | None]
"""What a number may depend on beside its run: versions, commit, device, threads."""


class Segment(Struct, frozen=True):
    """The epochs of a run that one process trained."""

    first_epoch: Positive
    last_epoch: Positive
    environment: Environment
    """Empty where a checkpoint of an older kdbench does not say."""


class Result(Struct, frozen=True, kw_only=True):
    """What one run gave, with all that is needed to judge or repeat it."""

    schema: int
    id: str
    run: Run
    curve: Curve
    last: Percent
    best: Percent
    best_epoch: Positive
    seconds: float
    """Training and evaluation, over all lives of the run, without start-up."""
    images_per_second: float
    """Training images over training seconds."""
    peak_memory: int
    weights: dict[str, Digest]
    """The sha256 of the weights kept, by epoch."""
    environment: Environment
    """Of the process that trained the last epoch."""
    segments: tuple[Segment, ...] = ()
    """Of a run that was resumed: each process's epochs. Empty where one process trained them all."""
    predicted: dict[str, Digest] = field(default_factory=dict, name="predictions")
    """The sha256 of the classes predicted, by epoch, and of the true ones (`kdbench.store.predictions`)."""
    by_class: tuple[Percent, ...] = ()
    """The accuracy of each class after the last epoch, where the recipe has `transfer_classes` or `bias`."""


class Failure(Struct, frozen=True, kw_only=True):
    """Why a run has no result."""

    id: str
    run: Run
    cause: Line
    """What went wrong, in a line."""
    log: Line
    """Where the whole of it lies; empty where nothing more was written."""

    @property
    def why(self) -> str:
        """The cause, and where the whole of it lies: `diverged: loss nan (results/digits/logs/x.log)`."""
        return f"{self.cause} ({self.log})" if self.log else self.cause
