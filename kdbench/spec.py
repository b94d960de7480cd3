"""The nouns of kdbench: frozen values that every other module passes on.

Units everywhere: accuracy in percent, gains in percentage points, time in seconds, memory in bytes,
epochs counted from 1. A field whose default means "off" is left out of a run's identity while it is
off, so a new optional field never orphans a stored result; every other field has no default.
"""

from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Literal

from msgspec import Meta, Struct, field, json

from kdbench.claim import Claim
from kdbench.errors import Line
from kdbench.identity import identity
from kdbench.weights import Digest, Imported, Weights

PROTOCOL = 2
"""The version of the arithmetic of training. Raised whenever a change of code can change a number.
2: teachers are folded (models/folding.py); float32 on a GPU is never rounded to tf32.
"""

RESULT_SCHEMA = 1
"""The version of the JSON of a stored result."""

Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(gt=0)]
Weight = Annotated[float, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Form = Literal["released", "printed"]
"""The two readings of a suite: what the authors' code does, or what the paper prints."""
Precision = Literal["float32", "tf32", "bf16", "float32-compiled", "tf32-compiled", "bf16-compiled"]
"""The arithmetic of training. tf32: on a GPU, matrix products and convolutions of rounded numbers. bf16:
bfloat16 where that is safe, logits in float32. compiled: by torch.compile, which fuses, and rounds otherwise.
Weights are float32 in any case, and so is evaluation, which is never compiled."""
Reading = Literal["last", "best"] | Positive
"""Which point of an accuracy curve is compared: the last epoch, the best on test, or an epoch."""


class Recipe(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, dict=True):
    """How a student is trained, whatever it is taught. The fields with defaults are off by default."""

    epochs: Positive
    batch_size: Positive
    lr: Rate
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr_batch: Count = 0
    """The lr is multiplied by batch_size / lr_batch (0: it is not)."""
    warmup_epochs: Count = 0
    """Epochs over which the lr rises linearly, step by step, from 0."""
    milestones: tuple[Positive, ...] = ()
    """The lr is multiplied by gamma after each of these epochs."""
    gamma: Rate = 1.0
    momentum: Weight = 0.0
    nesterov: bool = False
    weight_decay: Weight = 0.0
    crop: Count = 0
    """Zero padding, in pixels, before a random crop to the image's size."""
    flip: bool = False
    """Horizontal flip, half of the time."""
    rotation: Weight = 0.0
    """The largest angle, in degrees, of a random rotation (nearest neighbour, zero fill)."""
    size: Count = 0
    """Side of the images that the network sees, in pixels (0: the data set's own)."""
    resized_crop: bool = False
    """With size: a random crop of 8 to 100 % of the area, aspect 3/4 to 4/3, resized bilinearly to size."""
    resize: Count = 0
    """With size: the shorter side that an image is resized to before its centre crop (0: size)."""
    normalize: str = ""
    """The data set whose mean and std normalise the images ("": this one's)."""
    train_size: Count = 0
    """The first so many training images (0: all)."""
    test_size: Count = 0
    """The first so many test images (0: all)."""
    parts: Count = 0
    """Parts of a batch with batch-norm statistics of their own, as on so many GPUs (0: it is whole)."""
    classes: Count = 0
    """Outputs of the classifier (0: as many as the data set has classes)."""

    @cached_property
    def identity(self) -> dict[str, object]:
        """As it is hashed; rows share recipes, so this is made once."""
        return identity(self)

    @property
    def views(self) -> tuple[object, ...]:
        """All that decides, with the seed, what is seen of the training images."""
        framing = (self.size, self.resized_crop, self.resize)
        return self.crop, self.flip, self.rotation, *framing, self.normalize, self.train_size


class Loss(Struct, frozen=True):
    """A name in the catalog and all its parameters."""

    name: str
    params: dict[str, float] = {}


class Teacher(Struct, frozen=True):
    """A checkpoint on the way of another run: after an epoch, or the best one on test."""

    run: "Run"
    epoch: Count | Literal["best"]  # 0: before its training, which is then not needed

    @property
    def trained(self) -> bool:
        """Whether the run must have a result before it can teach."""
        return self.epoch != 0


class Run(Struct, frozen=True, omit_defaults=True, dict=True):
    """One training. Equal runs *are* the same run, whichever rows or suites ask for it."""

    protocol: int
    dataset: str
    data: Digest
    """What the data set is made of: `catalog.DatasetEntry.digest`."""
    student: str
    recipe: Recipe
    loss: Loss
    seed: Count
    teacher: Teacher | None = None
    precision: Precision = "float32"
    imported: Imported | None = None
    """The teacher, where it is no run of kdbench's own."""
    weights: Weights | None = None
    """None: the network starts from random weights."""

    @cached_property
    def id(self) -> str:
        """The first 12 hexadecimal digits of the sha256 of everything that can change a number."""
        return sha256(json.encode(identity(self), order="sorted")).hexdigest()[:12]

    @property
    def taught(self) -> bool:
        """Whether it has a teacher."""
        return self.teacher is not None or self.imported is not None

    @property
    def slug(self) -> str:
        """What a person calls it: `mobilenetv2-kd-resnet18`. Not unique; the id is."""
        taught = f"-{self.teacher.run.student}" if self.teacher else ""
        taught += f"-{self.imported.model}" if self.imported else ""
        early = self.teacher and self.teacher.epoch not in ("best", self.teacher.run.recipe.epochs)
        at = f"@{self.teacher.epoch}" if self.teacher and early else ""
        return f"{self.student}-{self.loss.name}{taught}{at}"


class Reference(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number to be held against: the accuracy, its spread, the gain, and where they were read."""

    top1: Percent | None = None
    std: Weight | None = None
    n: Positive | None = None
    gain: float | None = None
    kind: Literal["printed", "measured", "second-hand"] = "printed"
    source: str = ""


class Tolerance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The margins of a verdict, in percentage points."""

    top1: Rate
    gain: Rate
    why: str = ""  # why a row's margins are not the suite's


class TeacherName(Struct, frozen=True):
    """A teacher as a person writes it: `resnet18`, `resnet18@1`, `resnet18@best`, `self`, `import:NAME`."""

    student: str
    epoch: Reading | None = None
    """Which of its checkpoints; None: the one that the suite, or a delta, says."""

    def __str__(self) -> str:
        return self.student if self.epoch is None else f"{self.student}@{self.epoch}"

    @property
    def imported(self) -> str:
        """The name of an imported teacher in its suite; "" of any other."""
        return self.student.removeprefix("import:") if self.student.startswith("import:") else ""


class Row(Struct, frozen=True, kw_only=True):
    """One printed cell: who learns from whom with which loss, and the number that came out."""

    name: str
    """Unique in its suite: `TABLE/STUDENT` or `TABLE/STUDENT:TEACHER`."""
    table: str
    student: str
    recipe: Recipe
    loss: Loss
    seeds: Positive
    reading: Reading
    tolerance: Tolerance
    reference: Reference
    teacher: TeacherName | None = None
    over: str = ""
    """The row over which the gain is printed ("": the student's baseline)."""
    sic: bool = False
    """The printed gain is not value minus baseline, and this was checked against the source."""
    assumed: str = ""
    """What could not be sourced and stands here by assumption, with the reason."""
    note: str = ""
    weights: Weights | None = None
    """Published weights that the student starts from."""

    @property
    def printed_table(self) -> str:
        """The paper's table: `1` of `1.kd`. A row's printed baseline stands in the same table."""
        return self.table.partition(".")[0]

    @property
    def is_baseline(self) -> bool:
        """Plain cross-entropy, nobody teaches, and the accuracy at the end is meant."""
        return self.teacher is None and self.loss.name == "ce" and not isinstance(self.reading, int)

    @property
    def teacher_student(self) -> str | None:
        """The student of this suite that teaches: `self` resolved; None where nobody or an import does."""
        if self.teacher is None or self.teacher.imported:
            return None
        return self.student if self.teacher.student == "self" else self.teacher.student


class Delta(Struct, frozen=True, kw_only=True):
    """A difference between what the paper prints and what the authors' code does."""

    at: str
    why: str
    where: dict[str, tuple[str, ...]] = {}
    """Rows it concerns: table, student, teacher or loss (as printed), each one of these values."""
    recipe: dict[str, object] = {}
    loss: dict[str, str] = {}
    """Losses as printed -> what the code computes instead."""
    params: dict[str, float] = {}
    """Parameters of the loss, after renaming."""
    teacher: Reading | None = None
    """Which checkpoint a teacher named without an epoch is."""

    def concerns(self, row: Row) -> bool:
        """Whether this delta applies to a row as printed."""
        taught = str(row.teacher or "")
        of = {"table": row.table, "student": row.student, "teacher": taught, "loss": row.loss.name}
        named = all(of[key] in values for key, values in self.where.items())
        return named and (not self.loss or row.loss.name in self.loss)


class Cell(Struct, frozen=True, kw_only=True):
    """A row and what it asks for: one run per seed, and the baseline's run of the same seed."""

    row: Row
    runs: tuple[Run, ...]
    ids: tuple[str, ...]
    """The ids of `runs`."""
    baselines: tuple[str, ...]
    """The ids of the runs over which it gains: the named row's or the baseline's, in the order of `runs`."""


class Suite(Struct, frozen=True, kw_only=True):
    """One paper on one data set."""

    name: str
    path: str
    paper: str
    dataset: str
    rows: tuple[Row, ...]
    deltas: tuple[Delta, ...] = ()
    claims: tuple[Claim, ...] = ()
    imported: dict[str, Imported] = {}
    """The imported teachers by the names that rows give them."""
    teacher: Reading = "last"
    """The checkpoint of a teacher named without an epoch."""
    arxiv: str = ""
    code: str = ""


class Curve(Struct, frozen=True):
    """What each epoch gave: `top1[e - 1]` is the test accuracy after epoch e."""

    top1: tuple[Percent, ...]
    test_loss: tuple[float, ...]
    train_loss: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def best_epoch(self) -> int:
        """The epoch of the best test accuracy; of several, the latest, as published code keeps it."""
        return len(self.top1) - self.top1[::-1].index(max(self.top1))

    def at(self, reading: Reading) -> float:
        """The accuracy that a reading picks.

        Raises:
            IndexError: the curve has no such epoch.
        """
        if reading == "last":
            return self.top1[-1]
        return self.top1[(self.best_epoch if reading == "best" else reading) - 1]


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
    environment: dict[Line, Line | int | float | bool | None]
    predictions: dict[str, Digest] = {}
    """The sha256 of the classes predicted, by epoch, and of the true ones (`kdbench.predictions`)."""


class Failure(Struct, frozen=True, kw_only=True):
    """Why a run has no result."""

    id: str
    run: Run
    cause: Line
    """What went wrong, in a line."""
    log: Line
    """Where the whole of it lies."""


class Word(StrEnum):
    """The verdicts (docs/verdicts.md)."""

    REPRODUCED = "reproduced"
    CONSISTENT = "consistent"
    INCONCLUSIVE = "inconclusive"
    BELOW = "below"
    ABOVE = "above"
    FAILED = "failed"
    BLOCKED = "blocked"
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
    """The largest p-value that counts: less where the row is looked at after each seed (`sequential`)."""
    exact: bool = True
    """The printed mean counted as exact: its std or number of runs is not printed."""

    @property
    def off(self) -> float | None:
        """Measured minus printed."""
        both = self.measured is not None and self.printed is not None
        return self.measured - self.printed if both else None  # type: ignore[operator]


class Check(Struct, frozen=True, kw_only=True):
    """A row held against its results."""

    row: Row
    ids: tuple[str, ...]
    top1: Verdict
    gain: Verdict
    values: dict[int, float] = {}
    """The accuracy at the row's reading, by seed."""
    gains: dict[int, float] = {}  # the same less the baseline's of the same seed
    readings: dict[str, float] = {}  # the mean over the seeds at `last`, `best` and the row's epoch
    optimism: float | None = None
    """Mean of (best on test minus last)."""
    same_as: tuple[str, ...] = ()
    """Other rows of the suite that are the same runs."""
    repeats: tuple[str, ...] = field(default_factory=tuple)
    """Differences found between a result and its repeats."""
