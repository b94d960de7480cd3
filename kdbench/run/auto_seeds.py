"""What `plan --budget` and `--seeds auto` do: survey what is stored, propose, train, analyse again."""

from collections.abc import Callable
from math import nan

from msgspec import Struct

from kdbench.cost.speeds import expected_need
from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.plan.selection import Selection, Suites, Workload, all_rows, workload_of
from kdbench.spec.runs import Run
from kdbench.spec.suites import Cell, runs_by_id
from kdbench.store.records import index
from kdbench.verdict.judge import check_cells
from kdbench.verdict.proposals import Proposal, as_far_as_stored, prefix, propose, with_baselines
from kdbench.verdict.sequential import InterimPlan, load_plans, record

_UNITS = {"m": 60, "h": 3600, "d": 86_400}


class Survey(Struct, frozen=True):
    """Rows with the runs of all seeds they may get, and what more seeds of them would decide."""

    suites: Suites
    every: list[Cell]
    proposals: list[Proposal]
    stored: frozenset[str]

    @property
    def known(self) -> dict[str, Run]:
        """Every run by its id."""
        return runs_by_id(self.every)


def survey(chosen: Selection, machine: Machine) -> Survey:
    """Find the rows that more seeds can decide.

    Raises:
        UserError: a suite or a stored result is wrong.
    """
    suites = chosen.load()
    return survey_rows(suites, all_rows(chosen, suites), InterimPlan(most=chosen.most), machine)


def survey_rows(suites: Suites, every: list[Cell], plan: InterimPlan, machine: Machine) -> Survey:
    """The same for rows at hand, which have the runs of `plan.most` seeds."""
    there = index(machine.results)
    stored = frozenset(there.results)
    now = as_far_as_stored(suites, stored, 0)
    cells = [cell for _, some in suites for cell in some]
    # a row that was begun with a plan is analysed by that one, whatever is asked for now
    plans = {of: plan for cell in cells for of in cell.ids} | load_plans(machine.results)
    checks = [check for _, some in check_cells(now, there, plans)[0] for check in some]
    need = expected_need(there, nan)
    found = propose(cells, checks, plan, stored, lambda run: need(run).seconds, runs_by_id(every))
    return Survey(suites, every, found, stored)


def decide(chosen: Selection, machine: Machine, train: Callable[[Workload], None]) -> None:
    """Train one more seed of every open row, analyse it, and go on until none is open or has its most seeds.

    The plan of interim analyses is written down before the first. A row whose next run fails stays as it is.

    Args:
        chosen: the rows, and how many seeds at most.
        machine: where results lie.
        train: trains a workload.

    Raises:
        UserError: a suite or a stored result is wrong, or a row has another plan.
    """
    plan = InterimPlan(most=chosen.most)
    suites = chosen.load()
    every = all_rows(chosen, suites)
    cells = [cell for _, some in suites for cell in some]
    record(machine.results, [cell for cell in cells if cell.row.reference.is_given], plan)
    before: frozenset[str] | None = None
    while True:
        found = survey_rows(suites, every, plan, machine)
        # nothing new is stored: what was trained has failed, and would again
        if not found.proposals or found.stored == before:
            return
        before = found.stored
        train(workload_of(_next(found), found.every, machine))


def first_work(chosen: Selection, machine: Machine) -> Workload:
    """What `run` would train before it analyses the rows again: a seed more of each open row.

    Raises:
        UserError: a suite or a stored result is wrong.
    """
    found = survey(chosen, machine)
    return workload_of(_next(found), found.every, machine)


def _next(found: Survey) -> Suites:
    """The open rows with one seed more than they have, at least two."""
    wanted = {proposal.row for proposal in found.proposals}
    known = found.known
    following: Suites = []
    for suite, cells in found.suites:
        undecided = [cell for cell in cells if cell.row.name in wanted]
        longer = []
        for cell in undecided:
            seeds = max(2, prefix(cell, found.stored) + 1)
            longer.append(with_baselines(cell, seeds, known))
        following.append((suite, tuple(longer)))
    return following


def parse_budget(text: str) -> float:
    """`40h`, `90m` or `2d` in seconds.

    Raises:
        UserError: it is none of these.
    """
    try:
        seconds = float(text[:-1]) * _UNITS[text[-1]]
    except (ValueError, KeyError, IndexError):
        seconds = nan
    if not 0 < seconds < 1e10:
        raise UserError(f"--budget {text!r:.80}: write hours, minutes or days, for example 40h, 90m or 2d")
    return seconds
