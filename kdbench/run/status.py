"""How far the runs of a selection are, from what lies on disk alone."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from kdbench.formatting import columns
from kdbench.machine import Machine
from kdbench.plan.selection import Workload
from kdbench.spec.runs import Run
from kdbench.spec.suites import runs_by_id
from kdbench.store import lease
from kdbench.store.files import names_in
from kdbench.store.records import read_failures, read_results
from kdbench.store.weights import newest_checkpoint

Word = Literal["done", "running", "queued", "stopped", "failed", "unreadable", "blocked", "waiting"]
STATES = get_args(Word)


class State(Struct, frozen=True):
    """Where a run is."""

    id: str
    what: str
    seed: int
    state: Word
    epoch: int = 0
    """Of its newest checkpoint."""
    epochs: int = 0
    top1: float = 0.0
    """After the last epoch that its job reported."""
    images_per_second: float = 0.0
    detail: str = ""
    teacher: str = ""
    """The id of its teacher's run; "" of a teacher as it is before training."""


def _runs(work: Workload) -> dict[str, Run]:
    """The runs that the rows need, by id."""
    runs = runs_by_id(work.cells)
    return runs | {run.id: run for run in work.runs}


def find_states(work: Workload, machine: Machine) -> list[State]:
    """The state of each run that the rows need; one that has a record is done, which is not read."""
    failures = read_failures(work.index)
    causes = {of: failure.why for of, failure in failures.records.items()}
    causes |= failures.unreadable
    runs = _runs(work)
    locks = machine.scratch / "locks"
    # two listings instead of two questions per run: on a network file system each takes milliseconds
    begun, held = names_in(machine.scratch / "checkpoints"), names_in(locks)
    states = []
    for name, run in runs.items():
        if name in work.index.results:
            states.append(_state(name, run, "done", run.recipe.epochs))
            continue
        epoch = newest_checkpoint(machine.scratch, name) if name in begun else 0
        owner = lease.owner(locks / name) if name in held else None
        if owner is not None:
            states.append(_state(name, run, "running", epoch, f"on {owner.host}"))
        elif name in causes:
            states.append(_state(name, run, "failed", epoch, causes[name]))
        elif run.taught_by in causes:
            states.append(_state(name, run, "blocked", 0, f"its teacher {run.taught_by} failed"))
        else:
            states.append(_state(name, run, "stopped" if epoch else "waiting", epoch))
    return states


def mark_unreadable(states: Iterable[State], work: Workload) -> list[State]:
    """The same states, those of runs whose records are damaged as `unreadable`, with what is wrong."""
    runs = _runs(work)
    asked = {name for cell in work.cells for name in cell.ids}
    problems = read_results(work.index, runs.keys() - asked, runs).unreadable | dict(work.unreadable)
    marked = []
    for state in states:
        damaged = state.id in problems and state.state in ("done", "waiting", "blocked")
        wrong = replace(state, state="unreadable", detail=problems[state.id]) if damaged else state
        marked.append(wrong)
    return marked


def _state(name: str, run: Run, state: Word, epoch: int, detail: str = "") -> State:
    epochs, teacher = run.recipe.epochs, run.taught_by
    return State(name, run.slug, run.seed, state, epoch, epochs, detail=detail, teacher=teacher)


def describe(states: Iterable[State]) -> Iterator[str]:
    """The counts, and a line for each run that is not done, nor waiting without a reason."""
    states = list(states)
    count = Counter(state.state for state in states)
    yield ", ".join(f"{count[state]} {state}" for state in STATES if count[state]) or "no runs"
    rows = [
        (state.id, state.what, state.seed, state.state, f"{state.epoch}/{state.epochs}", state.detail)
        for state in states
        if state.state not in ("done", "waiting") or (state.state == "waiting" and state.detail)
    ]
    if rows:
        yield columns(rows, ["run", "what", "seed", "state", "epoch", ""])
