"""The nouns of a judgement: verdicts, checks, outcomes of claims."""

from enum import StrEnum
from typing import Literal

from msgspec import Struct, field

from kdbench.spec.suites import Claim, Row


class Outcome(StrEnum):
    """What comes of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    UNREADABLE = "unreadable"
    """A result that it depends on is damaged."""


class Part(Struct, frozen=True, kw_only=True):
    """One comparison of a claim: a row and what it is compared with, in paired differences."""

    row: str
    than: str
    """The other row, or `baseline`."""
    printed: float | None = None
    """The difference of the printed numbers, in points."""
    measured: float | None = None
    """The mean of the differences over the seeds that both have."""
    interval: tuple[float, float] | None = None
    """Confidence interval of the difference, of 1 - 2 `level`; None for fewer than two shared seeds."""
    n: int = 0
    p_for: float | None = None
    """The p-value of the test that this part of the claim is true."""
    p_against: float | None = None
    """The p-value of the test that it is not."""
    level: float = 0.05
    """What a test is made at: less where seeds were chosen by interim analyses; p-values are as if at 5 %."""
    recipes: str = ""
    """How the two are trained otherwise: `lr 0.05 against lr 0.1`; "": by one recipe."""


class ClaimCheck(Struct, frozen=True, kw_only=True):
    """A claim held against results."""

    claim: Claim
    outcome: Outcome
    parts: tuple[Part, ...]
    test: str
    """The test, in words."""
    p_for: float | None = None
    """The largest of the parts': the claim holds where it is at most 5 %."""
    p_against: float | None = None
    """The smallest of the parts', times their number: it does not hold where it is at most 5 %."""
    printed: bool | None = None
    """Whether the printed numbers bear it out; None where not all are printed."""
    reason: str = ""
    """What is missing, or which comparison decided."""


class Word(StrEnum):
    """The verdicts (docs/verdicts.md)."""

    REPRODUCED = "reproduced"
    CONSISTENT = "consistent"
    INCONCLUSIVE = "inconclusive"
    SINGLE_SEED = "single seed, outside"
    BELOW = "below"
    ABOVE = "above"
    FAILED = "failed"
    BLOCKED = "blocked"
    UNREADABLE = "unreadable"
    PENDING = "pending"
    NO_REFERENCE = "no reference"


class Verdict(Struct, frozen=True, kw_only=True):
    """One quantity of a row (its accuracy or its gain) held against the reference."""

    word: Word
    reason: str = ""
    """What is needed or what went wrong, in a line."""
    printed: float | None = None
    measured: float | None = None
    """The mean over the seeds."""
    std: float | None = None
    n: int = 0
    interval: tuple[float, float] | None = None
    """Confidence interval of (measured - printed), of 1 - 2 `level`; None for fewer than two seeds."""
    within: bool | None = None
    """The plain test: the mean differs from the printed number by no more than the tolerance."""
    p: float | None = None
    """The p-value of the two one-sided tests: small means equivalent within the tolerance."""
    p_outside: float | None = None  # of the opposite: small means a difference beyond the tolerance
    p_adjusted: float | None = None  # Holm's, of what the word claims, where asked for: `holm.adjust`
    level: float = 0.05
    """The largest p-value that counts: less where the row is analysed after each seed (`sequential`)."""
    exact: bool = True
    """The printed mean counted as exact: its std or number of runs is not printed."""

    @property
    def difference(self) -> float | None:
        """Measured minus printed."""
        if self.measured is None or self.printed is None:
            return None
        return self.measured - self.printed


class Published(Struct, frozen=True, kw_only=True):
    """A row held against what others published of their own trainings. Never mixed with runs of kdbench."""

    kind: Literal["author run", "released weights"]
    """The kind of evidence: what the authors logged, or their weights, evaluated by kdbench."""
    top1: Verdict
    gain: Verdict
    values: dict[int, float] = {}
    """The accuracy at the row's reported epoch, by the number of the run."""
    gains: dict[int, float] = {}
    report_epochs: dict[str, float] = {}
    """The mean over the runs at `last`, `best` and the row's epoch, as far as they are published."""
    optimism: float | None = None
    """Mean of (best on test minus last)."""
    epochs: tuple[int, ...] = ()
    """The last epochs of the runs' curves, each once."""
    sources: tuple[str, ...] = ()
    """Where the runs were published, in the order of their numbers."""
    notes: tuple[str, ...] = ()
    """Another protocol than the row's, and what was noticed about the logs."""


class Check(Struct, frozen=True, kw_only=True):
    """A row held against its results."""

    row: Row
    ids: tuple[str, ...]
    top1: Verdict
    gain: Verdict
    values: dict[int, float] = {}
    """The accuracy at the row's reported epoch, by seed."""
    gains: dict[int, float] = {}  # the same less the baseline's of the same seed
    report_epochs: dict[str, float] = {}  # the mean over the seeds at `last`, `best` and the row's epoch
    optimism: float | None = None
    """Mean of (best on test minus last)."""
    best_epochs: dict[int, int] = {}
    """The epoch of the best accuracy, by seed; of several equal ones as the suite's `ties` says."""
    by_class: tuple[float, ...] = ()
    """The accuracy of each class after the last epoch, mean over the seeds, where the records have it."""
    same_as: tuple[str, ...] = ()
    """Other rows of the suite that are the same runs."""
    copies: tuple[str, ...] = ()
    """Rows of other suites that print its number too: `dkd_cifar100: 1.kd/resnet20:resnet56`."""
    repeats: tuple[str, ...] = field(default_factory=tuple)
    """Where a result and its repeats differ, and how many do not."""
    published: Published | None = None
    """What others published of the same row, held against the same reference."""
    recipes: str = ""
    """How it is trained otherwise than what it gains over: `lr 0.05 against lr 0.1`; "": by one recipe."""
    levels: dict[int, float] = {}
    """Where its seeds were chosen by interim analyses: the levels of paired tests, by number of seeds."""
