"""Suite -> runs: what has to be trained for its rows, each training once, teachers first."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from fnmatch import fnmatchcase
from operator import index
from typing import Any, get_args

from msgspec.structs import asdict, fields, replace

from kdbench import catalog
from kdbench.errors import UserError, require, require_all
from kdbench.spec.runs import PROTOCOL, Loss, Precision, Recipe, ReportEpoch, Run, Teacher
from kdbench.spec.suites import Cell, Reference, Row, Suite, Variant, named
from kdbench.suite.deltas import released, released_dataset, released_epoch
from kdbench.suite.validate import loss_mistakes, recipe_mistakes, size_mistakes, target_mistakes
from kdbench.toml import Place, as_written, is_number, struct_at, values_at

SMOKE = {"epochs": 2, "train_size": 256, "test_size": 256}
"""What `--smoke` sets: enough to see that a row trains, too little to say anything about its number."""

LARGEST_SEED = 999_999_999

Seen = tuple[str, int]
"""A data set, and the size of the subset of it (0: all of it)."""


def expand(
    suite: Suite,
    *,
    variant: Variant = "released",
    rows: str = "*",
    seeds: Collection[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    smoke: bool = False,
    fitting: bool = False,
    precision: Precision = "float32",
) -> tuple[Cell, ...]:
    """Each row with its runs, one per seed.

    Args:
        suite: what `load_suite` gave.
        variant: what the authors' code does, or what the paper prints.
        rows: globs over row names, with commas between them.
        seeds: the seeds, instead of 0 up to the number that the row asks for.
        settings: recipe fields or loss parameters that override every row's. The runs get another
            identity and the rows lose their references.
        smoke: `SMOKE`, one seed; a teacher's epoch beyond the last becomes the last.
        fitting: leave out rows that the settings do not fit, instead of raising.
        precision: the arithmetic of every run, teachers' too.

    Raises:
        UserError: no row has such a name, a setting fits no row, or an argument is of another kind.
    """
    require("suite", suite, Suite, "a suite from kdbench.load_suite")
    require("rows", rows, str, "globs over row names, such as 'kd/*'")
    require("settings", settings, (Mapping, type(None)), "settings by their names, such as {'epochs': 5}")
    require_all("settings", settings or (), str, "settings by their names, such as {'epochs': 5}")
    catalog.require_known("variant", variant, get_args(Variant))
    catalog.require_known("precision", precision, get_args(Precision))
    seeds = None if seeds is None else _seeds(seeds)
    if variant == "printed":
        suite = replace(suite, deltas=())
    chosen = _chosen(suite, rows)
    changes = dict(settings or {})
    if smoke:
        changes = {**SMOKE, **changes}
        seeds = (0,) if seeds is None else seeds
    planner = Planner(suite, cut=smoke, precision=precision)
    planner.settings = planner.checked_settings(changes, chosen)
    ignored = [UserError] if fitting else []
    cells = []
    for row in chosen:
        with suppress(*ignored):
            cells.append(planner.cell(row, range(row.seeds) if seeds is None else seeds))
    if changes:
        # Of all rows, not only of the chosen ones: with its settings a row may be what another row is anyhow.
        plain = expand(suite, seeds=seeds, precision=precision)
        own = {run.id for run in make_plan(plain)}
        for place, cell in enumerate(cells):
            trials = frozenset(run.id for run in make_plan([cell])) - own
            cells[place] = replace(cell, trials=trials)
    return tuple(cells)


def _seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Seeds that somebody has written in Python, each once.

    Raises:
        UserError: they are no whole numbers of the range that `--seeds` takes.
    """
    try:
        numbers = [-1 if isinstance(seed, bool) else index(seed) for seed in seeds]  # numpy's are whole, too
    except TypeError:
        numbers = [-1]
    if not all(0 <= seed <= LARGEST_SEED for seed in numbers):
        raise UserError(
            f"seeds = {seeds!r:.80}: expected whole numbers from 0 to {LARGEST_SEED:,}, such as [0, 1] or "
            f"range(3)"
        )
    return tuple(dict.fromkeys(numbers))


def _chosen(suite: Suite, rows: str) -> list[Row]:
    """The rows that any of the globs fits, in the suite's order.

    Raises:
        UserError: a glob fits none.
    """
    chosen: set[str] = set()
    for glob in map(str.strip, rows.split(",")):
        fitting = {row.name for row in suite.rows if fnmatchcase(row.name, glob)}
        if not fitting:
            raise UserError(
                f"{suite.path}: no row is named like {glob!r:.80}.{_near(suite, glob)} All rows: "
                f"`kdbench list rows {suite.path}`"
            )
        chosen |= fitting
    return [row for row in suite.rows if row.name in chosen]


def _near(suite: Suite, rows: str) -> str:
    """The glob that was perhaps meant by one that no row fits: `kd/*` by `kd`, `*resnet*` by `resnet`.

    A regular expression becomes the glob that fits the same rows, `kd/*` of `^kd/.+$`; or a table of the rows
    that it finds, `kd/*` of `kd|lsr`.
    """
    if not rows:
        return " It is empty: leave --rows out for all rows."
    names = [row.name for row in suite.rows]
    tables = list(dict.fromkeys(f"{row.table}/*" for row in suite.rows))
    as_glob = re.sub(r"\.[*+]\??", "*", rows.strip("^$")).replace("\\", "")
    globs = [f"{rows}/*", f"*.{rows}/*", f"*{rows.strip('*')}*"]
    note = ""
    if re.search(r"[.][*+]|[\\^$|()+]", rows) and not re.fullmatch(r"\w+\.\*", rows):  # `1.*` is a glob
        globs = [as_glob, f"*{as_glob}*", *(f"{row.table}/*" for row in suite.rows if _finds(rows, row.name))]
        note = " (a glob: * any characters, ? one; no regular expression)"
    globs += get_close_matches(rows, [*names, *tables], n=1)
    for glob in globs:
        if any(fnmatchcase(name, glob) for name in names):
            return f" Did you mean --rows '{glob}'{note}?"
    return ""


def _finds(expression: str, name: str) -> bool:
    """Whether a regular expression, if it is one, finds something in a row's name."""
    try:
        return re.search(expression, name) is not None
    except re.error:
        return False


def make_plan(cells: Iterable[Cell], stored: Collection[str] = frozenset()) -> tuple[Run, ...]:
    """The runs that the rows need and nobody has: unique, each after its teacher.

    Args:
        cells: rows with their runs, of one suite or several.
        stored: ids of runs whose results, and weights where they teach, are there.

    Raises:
        UserError: they are no such rows.
    """
    ordered: dict[str, Run] = {}
    for cell in require_all("cells", cells, Cell, "rows from kdbench.expand"):
        for run in cell.runs:
            if run.id not in ordered and run.id not in stored:
                for needed in (*_teachers(run), run):
                    ordered.setdefault(needed.id, needed)
    # Stored teachers were put in, too, each before its student; they go only here.
    return tuple(run for name, run in ordered.items() if name not in stored)


def with_plugins(run: Run) -> Run:
    """A run, with the packages, as installed now, whose code it uses; kdbench's own runs have none."""
    found = catalog.plugins_of(*catalog_names(run))
    return run if found == run.plugins else replace(run, plugins=found)


def catalog_names(run: Run) -> list[tuple[catalog.Kind, str]]:
    """What a run itself, without its teacher, uses of the catalog."""
    used: list[tuple[catalog.Kind, str]] = [
        ("datasets", run.dataset),
        ("models", run.student),
        ("losses", run.loss.name),
    ]
    if run.imported is not None:
        used.append(("models", run.imported.model))
    if run.recipe.normalize:
        used.append(("datasets", run.recipe.normalize))
    return used


def weights_needed(runs: Iterable[Run]) -> dict[str, set[int | str]]:
    """Which checkpoints of which run teach somebody: id -> epochs, or "best".

    Raises:
        UserError: they are no runs.
    """
    needed: dict[str, set[int | str]] = {}
    for run in require_all("runs", runs, Run, "runs from kdbench.make_plan"):
        if run.teacher is not None and run.teacher.trained:
            needed.setdefault(run.teacher.run.id, set()).add(run.teacher.epoch)
    return needed


def _teachers(run: Run) -> Iterator[Run]:
    if run.teacher is not None and run.teacher.trained:
        yield from _teachers(run.teacher.run)
        yield run.teacher.run


class Planner:
    """Resolves the rows of one suite, as its deltas change them; remembers the baselines it has resolved."""

    def __init__(self, suite: Suite, *, cut: bool, precision: Precision) -> None:
        self.suite, self.cut, self.precision = suite, cut, precision
        self.settings: Mapping[str, Any] = {}
        """What overrides every row's recipe and loss parameters (`checked_settings`)."""
        self.baseline_rows: dict[tuple[str, Seen], list[Row]] = {}
        """By student and by what it sees, as printed."""
        for row in suite.rows:
            if row.is_baseline and not row.untrained:
                self.baseline_rows.setdefault((row.student, self._seen(row)), []).append(row)
        self.named = {row.name: row for row in suite.rows}
        self.baseline_runs: dict[tuple[str, Seen, int], Run] = {}

    def cell(self, row: Row, seeds: Iterable[int]) -> Cell:
        """A row and its runs; none where it is not trained."""
        if row.untrained:
            bare = replace(row, reference=Reference()) if self.settings else row
            return Cell(row=bare, runs=())
        if row.mean:
            return self._mean(row, list(seeds))
        as_read, checkpoint = self.read(row)
        runs = tuple(self.run(as_read, checkpoint, seed) for seed in seeds)
        return Cell(
            row=self._judged(as_read, len(runs)),
            runs=runs,
            baselines=tuple(self.gained_on(row, [run.seed for run in runs])),
        )

    def _mean(self, row: Row, seeds: Sequence[int]) -> Cell:
        """The mean over rows, with the runs of all of them, seed by seed."""
        rows = [each for entry in row.mean for each in named(self.suite.rows, entry)]
        by_name = {each.name: each for each in rows}
        members = [self.cell(each, seeds) for each in by_name.values()]
        # Seed by seed, as `values_of` takes the mean over what has one seed.
        runs = tuple(member.runs[number] for number in range(len(seeds)) for member in members)
        as_read = replace(row, report_epoch=members[0].row.report_epoch)
        return Cell(row=self._judged(as_read, len(seeds)), runs=runs)

    def _judged(self, row: Row, seeds: int) -> Row:
        """The row as it is held against its reference: against none, where settings make it another one."""
        return replace(row, reference=Reference(), seeds=seeds) if self.settings else row

    def gained_on(self, row: Row, seeds: Iterable[int]) -> Iterator[str]:
        """The ids of the runs over which a row gains; none where the suite has no baseline of its student."""
        over = self.named[row.over] if row.over else None
        if over is not None and not over.untrained:
            as_read, checkpoint = self.read(over)
            yield from (self.run(as_read, checkpoint, seed).id for seed in seeds)
        elif over is None and (row.student, self._seen(row)) in self.baseline_rows:
            yield from (self.baseline(row.student, self._seen(row), seed).id for seed in seeds)

    def run(self, row: Row, checkpoint: ReportEpoch, seed: int) -> Run:
        """The run of a resolved row for one seed; its teacher is a run inside it, and so on.

        Of `resnet18@1`, the teacher is the run of the baseline resnet18 with the epoch 1.
        """
        dataset = self._sees(row)
        teacher = None
        imported = row.teacher.imported if row.teacher else ""
        if row.teacher is not None and row.teacher_student is not None:
            taught_by = self._teacher_run(row, row.teacher_student, seed)
            teacher = Teacher(taught_by, self._epoch(row.name, checkpoint, taught_by.recipe.epochs))
        run = Run(
            protocol=PROTOCOL,
            dataset=dataset,
            data=catalog.find("datasets", dataset).digest,
            student=row.student,
            recipe=row.recipe,
            loss=row.loss,
            seed=seed,
            teacher=teacher,
            precision=self.precision,
            weights=row.weights,
            imported=self.suite.imported[imported] if imported else None,
        )
        return with_plugins(run)

    def _teacher_run(self, row: Row, student: str, seed: int) -> Run:
        """The run that teaches a row: the named row's, else the network's baseline.

        It is of the suite's one teacher seed where it has one, else of the student's.
        """
        if self.suite.teacher_seed is not None:
            seed = self.suite.teacher_seed
        if row.teacher_row:
            as_read, checkpoint = self.read(self.named[row.teacher_row])
            return self.run(as_read, checkpoint, seed)
        printed = self.named[row.name]
        return self.baseline(student, self._seen(printed, printed.teacher_dataset), seed)

    def baseline(self, student: str, seen: Seen, seed: int) -> Run:
        """The run that trains a student alone: its teacher's self and its gain's measure.

        Args:
            student: the baseline's.
            seen: what it sees, as printed: a teacher learns from as many images as its student.
            seed: its own.

        Raises:
            UserError: the suite's baseline rows of this student are different runs.
        """
        # A suite may print a baseline in several tables: as one run, a teacher and a gain have one meaning.
        key = (student, seen, seed)
        if key not in self.baseline_runs:
            found = {}
            rows = self.baseline_rows[student, seen]
            for row in rows:
                as_read, checkpoint = self.read(row)
                run = self.run(as_read, checkpoint, seed)
                found[run.id] = run
            if len(found) > 1:
                names = ", ".join(row.name for row in rows)
                raise UserError(
                    f"{self.suite.path}: the baselines of {student} are different runs ({names}), so a "
                    f"teacher or a gain would have two meanings; give them one recipe"
                )
            (self.baseline_runs[key],) = found.values()
        return self.baseline_runs[key]

    def read(self, row: Row) -> tuple[Row, ReportEpoch]:
        """A row as the deltas and the settings have it, and the checkpoint that its teacher is."""
        # The levels, each over the one before: the row as printed, the deltas, `--set`.
        recipe, loss, checkpoint = released(self.suite, row)
        recipe |= {key: value for key, value in self.settings.items() if key in RECIPE_FIELDS}
        takes = catalog.find("losses", loss.name).params
        params = {key: value for key, value in self.settings.items() if key in takes}
        dataset = released_dataset(self.suite, row, self._sees(row))
        reported = released_epoch(self.suite, row, row.report_epoch)
        as_read = replace(row, dataset=dataset, report_epoch=reported)
        return self._resolved(as_read, recipe, Loss(loss.name, {**loss.params, **params})), checkpoint

    def _seen(self, row: Row, dataset: str = "") -> Seen:
        """What distinguishes a student's baselines, of a row as printed."""
        return dataset or self._sees(row), row.recipe.subset

    def _sees(self, row: Row) -> str:
        """The data set of a row's student."""
        return row.dataset or self.suite.dataset

    def checked_settings(self, settings: Mapping[str, Any], rows: Iterable[Row]) -> dict[str, Any]:
        """The values of settings, once the rows take them.

        Raises:
            UserError: no row can take some; one sentence for each.
        """
        if not settings:
            return {}
        place = Place("--set")
        # The rows are read as they stand, to see which parameters their losses take.
        takes = {name for row in rows if not row.untrained for name in self.read(row)[0].loss.params}
        for key, value in settings.items():
            if key in takes and not is_number(value):
                place.report(f"{key} = {as_written(value)}: expected a finite number")
            elif key not in RECIPE_FIELDS | takes:
                place.report(catalog.unknown("key", key, sorted(RECIPE_FIELDS | takes)))
        recipe = {key: value for key, value in settings.items() if key in RECIPE_FIELDS}
        values = values_at(Recipe, recipe, place)
        if place.problems:
            raise UserError(*place.problems)
        return values | {key: float(value) for key, value in settings.items() if key in takes}

    def _resolved(self, row: Row, recipe: Mapping[str, Any], loss: Loss) -> Row:
        """A row with changed settings, checked as if the suite had them."""
        place = Place(self.suite.path, row.name)
        place.report_all(loss_mistakes(loss))
        made = struct_at(Recipe, {**asdict(row.recipe), **recipe}, place) if recipe else row.recipe
        if made is not None and recipe:
            place.report_all(recipe_mistakes(made))
            if not self.cut:  # --smoke takes a small data set whole
                place.report_all(size_mistakes(made, catalog.find("datasets", self._sees(row))))
        if made is not None:
            place.report_all(target_mistakes(made, loss, privileged=bool(row.teacher_dataset)))
        if made is None or place.problems:
            raise UserError(*place.problems)
        # Parameters in the order of their names: a loss that a delta renamed is equal to one written so.
        return replace(
            row,
            recipe=made,
            loss=Loss(loss.name, dict(sorted(loss.params.items()))),
            report_epoch=self._within(row.report_epoch, made.epochs, f"{row.name}: its report_epoch"),
        )

    def _epoch(self, row: str, checkpoint: ReportEpoch, epochs: int) -> Any:  # noqa: ANN401 - a Teacher's epoch
        return epochs if checkpoint == "last" else self._within(checkpoint, epochs, f"{row}: its teacher")

    def _within(self, wanted: ReportEpoch, epochs: int, what: str) -> ReportEpoch:
        """An epoch that a run of so many epochs has."""
        if not isinstance(wanted, int) or wanted <= epochs:
            return wanted
        if self.cut:
            return epochs
        raise UserError(f"{what} is epoch {wanted} of a run that trains {epochs} epochs")


RECIPE_FIELDS = {info.name for info in fields(Recipe)}
