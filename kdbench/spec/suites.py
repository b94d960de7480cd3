"""The nouns of a suite: rows, references, deltas, claims."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from kdbench.quantities import Count, Percent, Positive, Range, Rate, Weight
from kdbench.spec.runs import Loss, Recipe, ReportEpoch, Run, TeacherEpoch, Ties
from kdbench.spec.weights import Imported, Weights

Text = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
Note = Annotated[str, Meta(max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")]
"""`(?!\n)`: Python's $ would let a newline follow."""
Globs = tuple[Text, ...]
"""Rows: the id of a table, or a glob over row names."""
WhereKey = Literal["table", "student", "teacher", "loss"]
Where = dict[WhereKey, tuple[str, ...]]
"""Rows that a difference concerns: table, student, teacher or loss (as printed), each one of these values."""


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[claim]]`: what the paper concludes; one of `order`, `alike`, `improves` says from which rows.

    Rows are compared where the student is the same.
    """

    id: Name
    says: Text
    """The conclusion, in a sentence."""
    section: Note = ""
    """Where the paper draws it ("": it is the suite's own)."""
    order: Globs = ()
    """From the worst to the best: each is better than the one before, for every student they share."""
    alike: Globs = ()
    """Two that differ by less than the margin, for every student they share."""
    improves: Globs = ()
    """Rows, each better than its student's baseline."""
    margin: Weight = 0.0
    """Percentage points: better by more than this, or alike within it."""
    note: Note = ""


Variant = Literal["released", "printed"]
"""The two readings of a suite: what the authors' code does, or what the paper prints."""


Spread = Annotated[Weight, Range("[0, 50]", usual="[0, 10]", why="it is in percentage points")]
Times = Annotated[Positive, Range("[1, 1e6]", usual="[1, 1000]")]
Images = Annotated[Positive, Range("[1, 1e9]")]
Points = Annotated[float, Range("[-100, 100]", usual="[-50, 50]")]


class Reference(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number to be held against: the accuracy, its spread, the gain, and where they were read."""

    top1: Percent | None = None
    std: Spread | None = None
    n: Times | None = None
    """Of how many runs the number is the mean, where that is known."""
    assumed_std: Spread | None = None
    """Where no std is printed: what the spread of one run is taken to be, in points."""
    assumed_std_source: str = ""
    """After what."""
    errors: Count | None = None
    """Where a count of errors is printed instead of an accuracy, which is then made of it."""
    of: Images | None = None
    """Of how many test images."""
    gain: Points | None = None
    gain_std: Spread | None = None
    """The std of the gain itself over the `n` runs: less than the student's where these are paired."""
    kind: Literal["printed", "measured", "second-hand"] = "printed"
    source: str = ""

    @property
    def is_given(self) -> bool:
        """Whether there is any number."""
        return self.top1 is not None or self.gain is not None


MARGIN = Range("[0.05, 100]", usual="[0.1, 5]", why="it is in percentage points: 0.5 is half a point")


class Tolerance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The margins of a verdict, in percentage points."""

    top1: Annotated[Rate, MARGIN]
    gain: Annotated[Rate, MARGIN]
    why: str = ""  # why a row's margins are not the suite's


class TeacherName(Struct, frozen=True):
    """A teacher as a person writes it: `resnet18`, `resnet18@1`, `resnet18@best`, `self`, `import:NAME`."""

    student: str
    epoch: ReportEpoch | None = None
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
    """Unique in its suite: `TABLE/STUDENT` or `TABLE/STUDENT:TEACHER`, with `+LABEL` where it has one."""
    table: str
    student: str
    recipe: Recipe
    loss: Loss
    seeds: Positive
    report_epoch: ReportEpoch
    ties: Ties = "latest"
    """The suite's: which of several equal epochs is the best one."""
    tolerance: Tolerance
    reference: Reference
    teacher: TeacherName | None = None
    over: str = ""
    """The row over which the gain is printed ("": the student's baseline)."""
    teacher_row: str = ""
    """The row whose run is the teacher ("": the teacher's own baseline)."""
    sic: bool = False
    """The printed gain is not value minus baseline, and this was checked against the source."""
    assumed: str = ""
    """What could not be sourced and stands here by assumption, with the reason."""
    untrained: str = ""
    """Why kdbench cannot train it; its student, teacher and loss may have names that the catalog lacks."""
    released: str = ""
    """The imported weights whose own accuracy is printed: nothing is trained, they are evaluated."""
    note: str = ""
    weights: Weights | None = None
    """Published weights that the student starts from."""
    label: str = ""
    """What distinguishes it from rows of the same table, student and teacher."""
    dataset: str = ""
    """What its student sees ("": the suite's data set)."""
    teacher_dataset: str = ""
    """What its teacher sees of the same points ("": what the student sees)."""
    copied_from: str = ""
    """The suite of the paper that the number was copied from ("": the row's own paper measured it)."""
    mean: Globs = ()
    """Rows of which it is the mean, seed by seed: it trains nothing itself."""

    @property
    def shown(self) -> str:
        """The student as a table shows it, with the row's label."""
        return f"{self.student} ({self.label})" if self.label else self.student

    @property
    def parts(self) -> dict[WhereKey, str]:
        """What a `where` may ask for; no teacher is ""."""
        teacher = str(self.teacher or "")
        return {"table": self.table, "student": self.student, "teacher": teacher, "loss": self.loss.name}

    @property
    def printed_table(self) -> str:
        """The paper's table: `1` of `1.kd`. A row's printed baseline stands in the same table."""
        return self.table.partition(".")[0]

    @property
    def is_baseline(self) -> bool:
        """Plain cross-entropy, nobody teaches, and the accuracy at the end is meant."""
        plain = self.teacher is None and self.loss.name == "ce" and not (self.mean or self.released)
        return plain and not isinstance(self.report_epoch, int)

    @property
    def trained_on(self) -> tuple[str, str, int]:
        """What a student's baseline shares with its rows: the student, the data set and the subset of it."""
        return self.student, self.dataset, self.recipe.subset

    @property
    def epochs(self) -> tuple[str, ...]:
        """The epochs that it names: its teacher's and the reported one, as far as they are numbers."""
        taught = self.teacher.epoch if self.teacher else None
        return tuple(str(epoch) for epoch in (taught, self.report_epoch) if isinstance(epoch, int))

    @property
    def teacher_student(self) -> str | None:
        """The student of this suite that teaches: `self` resolved; None where nobody or an import does."""
        if self.teacher is None or self.teacher.imported:
            return None
        return self.student if self.teacher.student == "self" else self.teacher.student


class Delta(Struct, frozen=True, kw_only=True):
    """`[[delta]]`: a difference between what the paper prints and what the authors' code does."""

    at: Text
    why: Text
    where: Where = {}
    recipe: dict[str, Any] = {}
    loss: dict[str, str] = {}
    """Losses as printed -> what the code computes instead."""
    dataset: dict[str, str] = {}
    """Data sets as printed -> what the code takes instead, for students and teachers."""
    params: dict[str, float] = {}
    """Parameters of the loss, after renaming."""
    teacher: TeacherEpoch | None = None
    """Which checkpoint a teacher named without an epoch is."""
    epoch: dict[str, Positive] = {}
    """Epochs that rows name, of a teacher or as the reported one -> after which the code's checkpoint is."""

    def concerns(self, row: Row) -> bool:
        """Whether this delta applies to a row as printed."""
        # First what is cheap and mostly decides: planning 10,000 rows asks this of each row and delta.
        if self.loss and row.loss.name not in self.loss:
            return False
        if self.where:
            parts = row.parts
            if any(parts[key] not in values for key, values in self.where.items()):
                return False
        return not self.epoch or any(map(self.epoch.get, row.epochs))


class Formula(Struct, frozen=True, kw_only=True):
    """`[[formula]]`: one way to read a printed formula that leaves something open."""

    name: Name
    of: Text
    """Which formula, and what it leaves open; the readings of one formula share it."""
    why: Text
    """What speaks for this reading."""
    where: Where = {}
    loss: dict[str, str] = {}
    """Losses as printed -> what this reading computes; none: the row's own."""
    params: dict[str, float] = {}
    """Parameters of the loss, after renaming."""
    assumed: Note = ""
    """Why rows are trained by this reading `--as printed`; "" for the other readings."""

    @property
    def delta(self) -> Delta:
        """What it changes of the rows as they stand."""
        return Delta(at=self.of, why=self.why, where=self.where, loss=self.loss, params=self.params)


class Cell(Struct, frozen=True, kw_only=True):
    """A row and what it asks for: one run per seed, and the baseline's run of the same seed.

    A row that is marked `untrained` asks for no run; a mean over rows for all of theirs, seed by seed.
    """

    row: Row
    runs: tuple[Run, ...]
    baselines: tuple[str, ...] = ()
    """The ids of the runs over which it gains: the named row's or the baseline's, in the order of `runs`."""
    trials: frozenset[str] = frozenset()
    """Of its runs and their teachers those that settings make others than any of the suite's own."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of `runs`."""
        return tuple(run.id for run in self.runs)


def runs_by_id(cells: Iterable[Cell]) -> dict[str, Run]:
    """The runs of rows, by their ids."""
    return {run.id: run for cell in cells for run in cell.runs}


class Suite(Struct, frozen=True, kw_only=True):
    """One paper on one data set."""

    name: str
    path: str
    paper: str
    dataset: str
    rows: tuple[Row, ...]
    deltas: tuple[Delta, ...] = ()
    claims: tuple[Claim, ...] = ()
    formulas: tuple[Formula, ...] = ()
    imported: dict[str, Imported] = {}
    """The imported teachers by the names that rows give them."""
    teacher: ReportEpoch = "last"
    """The checkpoint of a teacher named without an epoch."""
    teacher_seed: int | None = None
    """The seed of all teachers, as where one checkpoint teaches (None: each has its student's)."""
    arxiv: str = ""
    code: str = ""

    @property
    def address(self) -> str:
        """What a command line calls it: `suites/tfkd_cifar100`."""
        return self.path.removesuffix(".toml")


def gained_over(rows: Iterable[Row]) -> dict[str, str]:
    """By the name of a row, the row that it gains over: the one that it names, else its student's baseline.

    That of a row of 500 images is the same student's on these 500, not `300.base`, which stands before it.
    A baseline gains over nothing, and of several baselines the first one counts.
    """
    rows = list(rows)
    bases: dict[tuple[str, str, int], str] = {}
    for row in rows:
        if row.is_baseline:
            bases.setdefault(row.trained_on, row.name)
    plain = {
        row.name: bases[row.trained_on] for row in rows if row.trained_on in bases and not row.is_baseline
    }
    return plain | {row.name: row.over for row in rows if row.over}


def named(rows: Iterable[Row], entry: str) -> list[Row]:
    """The rows that an entry of a claim means: those of a table, or those of a glob over names."""
    return [row for row in rows if row.table == entry or fnmatchcase(row.name, entry)]
