"""`kdbench plan`: what would be trained, what it costs, and which seeds decide the most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kdbench.commands.options import Command, answer, as_json, selection
from kdbench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdbench.machine import Machine
    from kdbench.plan.selection import Selection
    from kdbench.spec.runs import Run


@click.command(cls=Command)
@selection
@click.option("--budget", metavar="TIME", help="The verdicts' next seeds, in 40h, 90m or 2d.")
@as_json
def plan(chosen: Selection, *, budget: str | None, as_json: bool) -> None:
    """Say what would be trained and what it costs.

    With --budget or --seeds auto: which seeds decide the most.
    """
    from kdbench.cost.estimate import describe_plan, estimate_cost
    from kdbench.machine import load_machine
    from kdbench.plan.selection import find_work

    if budget is not None or chosen.auto:
        propose(chosen, budget, as_json=as_json)
        return
    machine = load_machine()
    work = find_work(chosen, machine)
    estimate = estimate_cost(work, machine)
    runs = []
    for run in work.runs:
        again = run.id in work.retrained
        runs.append({"id": run.id, "retrained": again, "run": run, "alone": estimate.items[run.id]})
    answer(runs, lambda: describe_plan(work, estimate), as_json=as_json)
    note_missing_teachers(work.runs, machine)


def note_missing_teachers(runs: Iterable[Run], machine: Machine) -> None:
    """Say of imported teachers that are not here, or do not fit, what a run would say."""
    from kdbench.store.imported import check_imported

    try:
        check_imported(runs, machine.scratch)
    except UserError as error:
        for problem in error.problems:
            click.echo(f"note: {problem}", err=True)


def propose(chosen: Selection, budget: str | None, *, as_json: bool) -> None:
    """What `plan --budget` and `plan --seeds auto` print: which seeds decide the most for their time."""
    from msgspec.structs import replace

    from kdbench.machine import load_machine
    from kdbench.run.auto_seeds import parse_budget, survey
    from kdbench.verdict.proposals import afford, describe_proposals

    seconds = parse_budget(budget) if budget is not None else None
    found = survey(replace(chosen, auto=True, seeds=None), load_machine()).proposals
    affordable = found if seconds is None else afford(found, seconds)
    how = f"verdicts as of `kdbench check --seeds auto`: tested after each of at most {chosen.most} seeds"
    answer(affordable, lambda: [*describe_proposals(affordable, found), how], as_json=as_json)
