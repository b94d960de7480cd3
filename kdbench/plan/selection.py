"""What a command line asks for: suites in one variant, with their rows, seeds and settings."""

import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import PluginWarning, UserError, each_of
from kdbench.formatting import plural
from kdbench.machine import Machine
from kdbench.plan.controls import control_cells, load_prober
from kdbench.plan.expand import expand, make_plan, weights_needed
from kdbench.plan.plugin_runs import made_otherwise, taken_names
from kdbench.spec.runs import Precision, Recipe, ReportEpoch, Run
from kdbench.spec.suites import Cell, Suite, Variant, runs_by_id
from kdbench.store.records import Index, index, read_results
from kdbench.store.weights import weights_there
from kdbench.suite.load import RENAMED_KEYS, load_suite
from kdbench.toml import Place, fields_of, values_at

Suites = list[tuple[Suite, tuple[Cell, ...]]]


def suites_in(folder: Path) -> tuple[str, ...]:
    """Every suite file of a folder, by name.

    Raises:
        UserError: there is none.
    """
    names = tuple(str(path) for path in sorted(folder.glob("*.toml")))
    if not names:
        raise UserError(f"{folder}: no suite is there; go to the folder that holds suites/")
    return names


class Selection(Struct, frozen=True, kw_only=True):
    """Suites and what is wanted of them."""

    suites: tuple[str, ...]
    rows: str = "*"
    """Globs over row names, with commas between them."""
    seeds: tuple[int, ...] | None = None
    variant: Variant = "released"
    settings: Mapping[str, Any] = {}
    smoke: bool = False
    precision: Precision = "float32"
    report_epoch: ReportEpoch | None = None
    """Which point of the curves is judged, instead of the suite's; trains nothing."""
    auto: bool = False
    """Seeds where they help, up to `most`: those that are stored, and those that are proposed."""
    most: int = 10
    controls: bool = False
    """Whether rows that have a teacher are held against controls, which are further runs."""
    holm: bool = False
    """Whether the verdicts are adjusted for their number."""
    single_seed: bool = False
    """Whether a single seed outside its tolerance counts as a verdict, `below` or `above`."""
    formula: str = ""
    """The reading of open formulas by which rows are trained as printed; "": the assumed one."""
    part: tuple[int, int] = (1, 1)
    """The k-th of n parts of each suite's chosen rows: every n-th row, from the k-th on."""
    read: Mapping[str, Suite] = {}
    """Suites by their path, as `opened` has read them."""

    def opened(self) -> "Selection":
        """The same selection with its suites as they are now, whatever becomes of their files.

        `run` trains for hours and judges at the end: by the text that it trained, not by a later one.

        Raises:
            UserError: suites are wrong; the mistakes of all of them at once.
        """
        return replace(self, read=dict(zip(self.suites, each_of(load_suite, self.suites), strict=True)))

    @property
    def altered(self) -> str:
        """`--smoke --set epochs=5`: what makes the runs others than those of the suite; "" of its own."""
        words = [f"--set {key}={value}" for key, value in self.settings.items()]
        return " ".join([*(["--smoke"] if self.smoke else []), *words])

    def load(self) -> Suites:
        """Each suite with its chosen rows; a name in them that a package offers in vain is warned of.

        Raises:
            UserError: suites are wrong; the mistakes of all of them at once.
        """
        k, n = self.part

        def chosen(path: str) -> tuple[Suite, tuple[Cell, ...]]:
            suite = self.read.get(path) or load_suite(path)
            return suite, self.cells(suite, self.rows)[k - 1 :: n]

        suites = each_of(chosen, self.suites)
        for note in taken_names(cell for _, cells in suites for cell in cells):
            warnings.warn(note, PluginWarning, stacklevel=2)
        return suites

    def cells(self, suite: Suite, rows: str, *, fitting: bool = False) -> tuple[Cell, ...]:
        """The rows of a suite that are named so (and fit the settings), with their runs."""
        suite, variant = self._as_read(suite)
        return expand(
            suite,
            variant=variant,
            rows=rows,
            seeds=range(self.most) if self.auto else self.seeds,
            settings=self.settings,
            smoke=self.smoke,
            fitting=fitting,
            precision=self.precision,
        )

    def _as_read(self, suite: Suite) -> tuple[Suite, Variant]:
        """The suite and the variant to be expanded: of a named reading, what it changes is the only delta.

        Raises:
            UserError: no formula has such a reading.
        """
        if not self.formula:
            return suite, self.variant
        chosen = tuple(each.delta for each in suite.formulas if each.name == self.formula)
        if not chosen:
            names = ", ".join(dict.fromkeys(each.name for each in suite.formulas)) or "none"
            raise UserError(
                f"{suite.path}: no formula has a reading named {self.formula!r:.80}; there are: {names}"
            )
        return replace(suite, deltas=chosen), "released"


class Workload(Struct, frozen=True, kw_only=True):
    """What there is to do for a selection, and what is there already."""

    suites: Suites
    runs: tuple[Run, ...]
    """To be trained: unique, teachers first."""
    stored: int
    """Runs of the selection that have a result."""
    retrained: frozenset[str]
    """Those of `runs` that have a result and are trained again: asked for, or for their weights."""
    keep: dict[str, set[int | str]]
    """The epochs whose weights any row of the suites learns from, by run."""
    index: Index
    trials: frozenset[str] = frozenset()
    """Runs that the suites themselves do not have: their results lie apart."""
    outdated: tuple[str, ...] = ()
    """What is stored of runs to be trained, but of other versions of a package: a sentence for each."""
    unreadable: Mapping[str, str] = {}
    """Runs of the rows whose results are damaged, and what is wrong with them."""
    damaged: tuple[str, ...] = ()
    """Why runs are neither stored nor trained again: what is wrong with the files that hold their results."""

    @property
    def cells(self) -> list[Cell]:
        """The chosen rows of all suites."""
        return [cell for _, cells in self.suites for cell in cells]


def find_work(selection: Selection, machine: Machine, *, rerun: bool = False) -> Workload:
    """Compare what is asked for with what is stored.

    Args:
        selection: the suites and rows.
        machine: where results and weights lie.
        rerun: train the rows' runs although they have results.

    Raises:
        UserError: a suite is wrong.
    """
    suites = selection.load()
    every = all_rows(selection, suites)
    if selection.controls:
        suites = [(suite, (*cells, *controls_of(cells))) for suite, cells in suites]
    return workload_of(suites, every, machine, rerun=rerun)


def controls_of(cells: Iterable[Cell]) -> Iterator[Cell]:
    """The controls of those rows that have a teacher; imports torch."""
    for _, controls in control_cells(cells, load_prober()):
        yield from controls.values()


def all_rows(selection: Selection, suites: Suites) -> list[Cell]:
    """Every row of the suites that fits the settings, also those that were not asked for."""
    if (selection.rows, selection.part) == ("*", (1, 1)):
        return [cell for _, some in suites for cell in some]
    return [cell for suite, _ in suites for cell in selection.cells(suite, "*", fitting=True)]


def workload_of(suites: Suites, every: Sequence[Cell], machine: Machine, *, rerun: bool = False) -> Workload:
    """Compare rows with what is stored; `every`: the rows that may learn from what is trained."""
    cells = [cell for _, some in suites for cell in some]
    there = index(machine.results, datasets=set(_datasets(cells)))
    asked = runs_by_id(cells)
    lost = _lost(cells, there)
    unreadable = read_results(there, asked, asked).unreadable
    # What may have a result in a damaged file counts as stored: training it again could write a second one.
    stored = there.results.keys() | lost.keys()
    runs = find_missing(cells, stored - (asked.keys() if rerun else set()), machine)
    return Workload(
        suites=suites,
        runs=runs,
        stored=len(asked.keys() & there.results.keys() - unreadable.keys()),
        retrained=frozenset(run.id for run in runs) & there.results.keys(),
        keep=weights_needed(run for cell in every for run in cell.runs),
        index=there,
        trials=_trials([*cells, *every]),
        outdated=tuple(made_otherwise(runs, there)),
        unreadable=unreadable,
        damaged=tuple(dict.fromkeys([*lost.values(), *unreadable.values()])),
    )


def _trials(cells: Iterable[Cell]) -> frozenset[str]:
    """The runs that only settings ask for; what is one in a suite may be another suite's own."""
    trials: set[str] = set()
    plain: set[str] = set()
    for cell in cells:
        trials |= cell.trials
        plain.update(of for of in cell.ids if of not in cell.trials)
    return frozenset(trials - plain)


def _datasets(cells: Iterable[Cell]) -> Iterator[str]:
    """Those of rows, and of all their teachers."""
    for cell in cells:
        for run in cell.runs[:1]:  # the seeds' data sets are the same
            yield from (each.dataset for each in run.lineage)


def _lost(cells: Iterable[Cell], there: Index) -> dict[str, str]:
    """The runs, and their teachers, that may have results in a damaged file: they are not trained again.

    By run: what is wrong with the file.
    """
    found: dict[str, str] = {}
    for cell in cells if there.damaged else ():
        for run in chain.from_iterable(each.lineage for each in cell.runs):
            if problem := there.lost(run):
                found[run.id] = problem
    return found


def find_missing(cells: Sequence[Cell], stored: set[str], machine: Machine) -> tuple[Run, ...]:
    """The runs to be trained for rows, and stored teachers of theirs whose weights are not on this machine.

    Args:
        cells: rows with their runs.
        stored: the ids of runs that have results; those to be trained once more are taken out of it.
        machine: where the weights lie.
    """
    # A teacher that is trained again for its weights may need those of its own teacher, and so on up.
    runs = make_plan(cells, stored)
    while lacking := _without_weights(runs, stored, machine):
        stored -= lacking
        runs = make_plan(cells, stored)
    return runs


def _without_weights(runs: tuple[Run, ...], stored: set[str], machine: Machine) -> set[str]:
    """Stored teachers of runs to be trained whose weights are not on this machine."""
    return {
        name
        for name, epochs in weights_needed(runs).items()
        if name in stored and not weights_there(machine.scratch, name, epochs)
    }


def parse_report_epoch(text: str) -> ReportEpoch:
    """`last`, `best`, `best_validation` or an epoch.

    Raises:
        UserError: it is none of these.
    """
    words: tuple[ReportEpoch, ...] = ("last", "best", "best_validation")
    for word in words:
        if text == word:
            return word
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    raise UserError(f"--report-epoch {text!r:.80}: write last, best, best_validation or an epoch from 1")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0-2`, `0,3,5` or `4`.

    Raises:
        UserError: it is none of these.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 10 for end in ends):
            raise UserError(
                f"--seeds {text!r:.80}: seeds are whole numbers from 0 to 999,999,999; write 0-2, 0,3,5 or 4"
            )
        if int(ends[1]) < int(ends[0]) or int(ends[1]) - int(ends[0]) >= 1000:
            raise UserError(f"--seeds {text!r:.80}: a range rises and has at most 1,000 seeds")
        seeds.extend(range(int(ends[0]), int(ends[1]) + 1))
    return tuple(dict.fromkeys(seeds))


def parse_part(text: str) -> tuple[int, int]:
    """`K/N`: the K-th of N parts.

    Raises:
        UserError: it is not.
    """
    k, slash, n = text.partition("/")
    if not slash or not all(end.isascii() and end.isdigit() and len(end) < 6 for end in (k, n)):
        raise UserError(f"--shard {text!r:.80}: write K/N, for example 3/14, the third of 14 parts")
    if not 1 <= int(k) <= int(n):
        valid = f"K is from 1 to {int(n)}" if int(n) else "N is at least 1"
        raise UserError(f"--shard {text}: {valid}")
    return int(k), int(n)


def parse_settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` pairs, the values in TOML.

    Raises:
        UserError: something else.
    """
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {text!r:.80}: write key=value, for example --set epochs=5")
        try:
            settings[RENAMED_KEYS.get(key.strip(), key.strip())] = tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError) as error:  # also of thousands of digits or brackets
            raise UserError(_no_value(key.strip(), value)) from error
    return settings


def _no_value(key: str, value: str) -> str:
    """The sentence on what is no TOML: text without its quotes, or text where a number belongs."""
    says = f"--set {key}: {value!r:.80} is no value"
    as_text = Place("--set")
    if key not in fields_of(Recipe):
        return f"{says}; a parameter of a loss is a number; only text of a recipe goes in quotes"
    values_at(Recipe, {key: value.strip()}, as_text)
    if as_text.problems and value.strip():
        return next(iter(as_text.problems))
    return f"{says}; text goes in quotes: --set '{key}=\"{value.strip():.40}\"'"


def describe_work(work: Workload) -> str:
    """What was found and what is trained: a line, and one for each package that was changed since."""
    rows = plural(len(work.cells), "row")
    stored = plural(work.stored, "run")
    names = ", ".join(suite.name for suite, _ in work.suites)
    rerun = f", {len(work.retrained)} of them again" if work.retrained else ""
    first = f"{names}: {rows}; {stored} stored, {len(work.runs)} to train{rerun}{_skipped(work)}"
    damaged = (
        f"neither stored nor trained again, as a file of results is damaged: {of}" for of in work.damaged
    )
    return "\n".join([first, *work.outdated, *damaged])


def _skipped(work: Workload) -> str:
    """`; 14 rows skipped, not to be trained: no such network`, each reason once."""
    reasons = [cell.row.untrained for cell in work.cells if cell.row.untrained]
    if not reasons:
        return ""
    why = "; ".join(dict.fromkeys(reasons))
    return f"; {plural(len(reasons), 'row')} skipped, not to be trained: {why}"
