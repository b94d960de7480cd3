"""What `kdbench check` does, and `report` begins with: stored results -> checks."""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import PluginWarning, UserError
from kdbench.formatting import spans
from kdbench.machine import Machine, load_machine
from kdbench.plan.controls import control_cells, load_prober
from kdbench.plan.expand import make_plan
from kdbench.plan.plugin_runs import made_otherwise, packages
from kdbench.plan.selection import Selection, Suites
from kdbench.spec.author_runs import AuthorRuns
from kdbench.spec.results import Failure, Result
from kdbench.spec.runs import ReportEpoch
from kdbench.spec.suites import Cell, Suite, runs_by_id
from kdbench.spec.verdicts import Check
from kdbench.store.author_runs import load_author_runs
from kdbench.store.records import Index, index, read_failures, read_repeats, read_results
from kdbench.store.released import load_evaluations
from kdbench.verdict import equivalence
from kdbench.verdict.check import check_suite, count_single_seeds
from kdbench.verdict.controls import Controlled, check_controls
from kdbench.verdict.holm import adjust
from kdbench.verdict.proposals import as_far_as_stored
from kdbench.verdict.published import for_both, with_author_runs, with_released_weights
from kdbench.verdict.sequential import InterimPlan, load_plans

Checked = list[tuple[Suite, list[Check]]]
"""Suites, each with the checks of its chosen rows."""


class Judged(Struct, frozen=True):
    """A selection's rows, each held against its results."""

    chosen: Selection
    suites: Checked
    results: Mapping[str, Result]
    there: Index
    """The records that are stored."""
    controls: Mapping[str, list[Controlled]] = {}
    """By the path of the suite, where they are asked for."""
    authors: Mapping[str, AuthorRuns] = {}
    """By the path of the suite: what the authors published of their own runs."""
    further: Mapping[str, str] = {}
    """By the path of the suite: that more seeds are stored than are judged."""


def judge(
    chosen: Selection, machine: Machine | None = None, failed: Mapping[str, Failure] | None = None
) -> Judged:
    """Hold the chosen rows against what is stored; it warns of what is stored of other versions of packages.

    Args:
        chosen: the rows.
        machine: where results lie (None: as benchmark.toml says).
        failed: why runs have no result, by run, beside what is stored of that: a full disk, or a job that
            ended before kdbench began, leaves no record.

    Raises:
        UserError: a suite or a stored result is wrong.
    """
    machine = machine or load_machine()
    suites = chosen.load()
    there = index(machine.results)
    if chosen.auto:  # the seeds that have results, without a gap; with the first where none has
        suites = as_far_as_stored(suites, frozenset(there.results), 1)
    if chosen.report_epoch is not None:
        suites = [(suite, _reported_at(cells, chosen.report_epoch)) for suite, cells in suites]
    with_packages = (cell for _, cells in suites for cell in cells if any(map(packages, cell.runs)))
    for note in made_otherwise(make_plan(with_packages, there.results), there):
        warnings.warn(note, PluginWarning, stacklevel=2)
    # Before the first analysis no plan is stored: rows are judged by the one that `run` would write down.
    plans = load_plans(machine.results)
    if chosen.auto:
        plans = _to_be_planned(suites, InterimPlan(most=chosen.most)) | plans
    checked, results = check_cells(suites, there, plans, failed or {})
    if chosen.precision != "float32":
        tests = equivalence.load_all(machine.results)
        for number, (suite, checks) in enumerate(checked):
            sentence = equivalence.evidence(tests, chosen.precision, suite.dataset)
            checked[number] = (suite, equivalence.cited(checks, sentence))
    controls = _controlled(suites, there, plans) if chosen.controls else {}
    # The author runs come before Holm, which adjusts theirs as a family of their own, and a single seed after
    # it: a verdict without a test is no member of a family.
    checked, authors = beside_authors(checked, chosen, machine.results)
    if chosen.holm:
        checked = _adjusted(checked)
    if chosen.single_seed:
        checked = [(suite, for_both(checks, count_single_seeds)) for suite, checks in checked]
    return Judged(chosen, checked, results, there, controls, authors, _further_seeds(chosen, suites, there))


def beside_authors(
    checked: Checked, chosen: Selection, results: Path
) -> tuple[Checked, dict[str, AuthorRuns]]:
    """The checks with what the authors published of their rows, and their runs by the path of the suite.

    Rows that are set otherwise than the paper has them have no reference, and no author runs either.

    Raises:
        UserError: a file of author runs, or an evaluation of released weights, is broken or names a row that
            its suite lacks.
    """
    if chosen.settings or chosen.smoke:
        return checked, {}
    authors = {suite.path: load_author_runs(results, suite.name) for suite, _ in checked}
    evaluations = load_evaluations(results)
    both = []
    for suite, checks in checked:
        with_runs = with_author_runs(suite, checks, authors[suite.path])
        both.append((suite, with_released_weights(suite, with_runs, evaluations)))
    return both, authors


def _controlled(
    suites: Suites, there: Index, plans: Mapping[str, InterimPlan]
) -> dict[str, list[Controlled]]:
    """The rows that have a teacher, beside what is stored of their controls."""
    prober = load_prober()
    found = {}
    for suite, cells in suites:
        rows = control_cells(cells, prober)
        every = [each for cell, controls in rows for each in (cell, *controls.values())]
        known = runs_by_id(every)
        stored = read_results(there, known, known)
        found[suite.path] = check_controls(rows, stored.records, plans, stored.unreadable)
    return found


def _to_be_planned(suites: Suites, plan: InterimPlan) -> dict[str, InterimPlan]:
    """The plan that `--seeds auto` writes down for rows with a printed number, by the ids of their runs."""
    planned = {}
    for _, cells in suites:
        for cell in cells:
            if cell.row.reference.is_given:
                planned.update(dict.fromkeys(cell.ids, plan))
    return planned


def _further_seeds(chosen: Selection, suites: Suites, there: Index) -> dict[str, str]:
    """Which seeds of rows have results and are not judged, where nobody said which seeds to judge.

    Records are named SLUG.sSEED.ID: only where one of a row's slug has another seed than the row's is it
    looked up whether its run is the row's.
    """
    if chosen.seeds is not None:
        return {}
    # Expanding a suite for further seeds hashes thousands of runs: names of files say whether that can pay.
    named: defaultdict[str, set[int]] = defaultdict(set)
    for path in there.results.values():
        slug, _, rest = path.name.rpartition(".s")
        named[slug].add(int(rest.partition(".")[0]))
    found: dict[str, str] = {}
    # judged: by row, the seeds that count, {"1.kd/a:b": {0, 1}}; others: what else lies there of any slug.
    for suite, cells in suites:
        judged: dict[str, set[int]] = {}
        others: set[int] = set()
        for cell in cells:
            own = judged[cell.row.name] = {run.seed for run in cell.runs}
            others.update(*(named[run.slug] - own for run in cell.runs))
        if others:
            wanted = replace(chosen, auto=False, seeds=tuple(sorted(others)))
            rows = {cell.row.name: cell for cell in wanted.cells(suite, chosen.rows)}
            text = _further(judged, [rows[name] for name in judged], there)
            found |= {suite.path: text} if text else {}
    return found


def _further(judged: Mapping[str, set[int]], cells: Iterable[Cell], there: Index) -> str:
    """The sentence on stored seeds beside those that are judged, by row; "" where there are none."""
    more = {}
    for cell in cells:
        stored = {run.seed for run in cell.runs if run.id in there.results}
        more[cell.row.name] = stored - judged[cell.row.name]
    names = [name for name, seeds in more.items() if seeds]
    if not names:
        return ""
    seeds = sorted(set().union(*more.values()))
    whole = sorted(set().union(seeds, *judged.values()))
    rows = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return f"{rows}: seeds {spans(seeds)} are stored too and not judged: --seeds {spans(whole)} judges all"


def check_cells(
    suites: Suites,
    there: Index,
    plans: Mapping[str, InterimPlan],
    failed: Mapping[str, Failure] = MappingProxyType({}),
) -> tuple[Checked, Mapping[str, Result]]:
    """Hold rows against what is stored, and that by run; a row of a damaged record is `unreadable`.

    `failed`: why runs have no result, by run, where no record says it.
    """
    every = [cell for _, cells in suites for cell in cells]
    ids = dict.fromkeys(name for cell in every for name in (*cell.ids, *cell.baselines))
    known = runs_by_id(every)
    results = read_results(there, ids, known)
    failures = read_failures(there)
    repeats, damaged = read_repeats(there, results.records)
    unreadable = results.unreadable | failures.unreadable
    causes = {**failed, **failures.records}
    checked = []
    for suite, cells in suites:
        checks = check_suite(cells, results.records, causes, repeats, plans, unreadable)
        checked.append((suite, [_with_damage(check, damaged) for check in checks]))
    return checked, results.records


def _with_damage(check: Check, damaged: Mapping[str, Sequence[str]]) -> Check:
    """A check that also says which of its runs' repeats could not be read."""
    found = [sentence for of in check.ids for sentence in damaged.get(of, ())]
    return replace(check, repeats=(*check.repeats, *found)) if found else check


def _reported_at(cells: Iterable[Cell], report_epoch: ReportEpoch) -> tuple[Cell, ...]:
    """The cells at another reported epoch; what is printed of an epoch on the way stays there.

    Raises:
        UserError: no row trains so many epochs.
    """
    cells = tuple(cells)
    longest = max((cell.row.recipe.epochs for cell in cells), default=0)
    if isinstance(report_epoch, int) and report_epoch > longest:
        raise UserError(f"--report-epoch {report_epoch}: the rows train at most {longest} epochs")

    def at_epoch(cell: Cell) -> Cell:
        if isinstance(cell.row.report_epoch, int):
            return cell
        return replace(cell, row=replace(cell.row, report_epoch=report_epoch))

    return tuple(at_epoch(cell) for cell in cells)


def _adjusted(checked: Checked) -> Checked:
    """All that is judged is one family, whichever suites it comes from."""
    whole = iter(for_both([check for _, checks in checked for check in checks], adjust))
    return [(suite, list(islice(whole, len(checks)))) for suite, checks in checked]
