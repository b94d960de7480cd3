"""How far runs are, from the disk and from the scheduler; that costs one look at each folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.cluster.ledger import Attempt, Ledger
from kdbench.cluster.queue import SchedulerSnapshot
from kdbench.cluster.scheduler import JobStatus
from kdbench.cluster.status import merge
from kdbench.machine import Machine
from kdbench.plan.selection import Workload
from kdbench.run.status import State, describe, find_states
from kdbench.store import lease
from kdbench.store.records import index
from tests.support.build import make_cell, make_row, make_suite
from tests.support.counting import calls


def workload(folder: Path, rows: int) -> Workload:
    """So many rows of three seeds without a result."""
    cells = tuple(make_cell(make_row(f"student{at}")) for at in range(rows))
    suite = make_suite(*(cell.row for cell in cells))
    there = index(folder / "results")
    suites = [(suite, cells)]
    return Workload(suites=suites, runs=(), stored=0, retrained=frozenset(), keep={}, index=there)


def ended(ledger: Ledger, work: Workload) -> SchedulerSnapshot:
    """What Slurm says of two arrays that have held all runs, the newer one only partly remembered."""
    ids = [run for cell in work.cells for run in cell.ids]
    older, newer = (ledger.new_submission(name, "", [[run] for run in ids]) for name in ("older", "newer"))
    view = {
        (one.token, number): JobStatus(job=f"{job}_{number}", state="CANCELLED", reason="", start="", node="")
        for one, job, numbers in ((newer, 2, range(1)), (older, 1, range(len(ids))))
        for number in numbers
    }
    return SchedulerSnapshot([newer, older], view)


def test_states_are_those_of_checkpoints_and_leases(tmp_path: Path) -> None:
    machine, work = Machine(root=str(tmp_path)), workload(tmp_path, 1)
    stopped, running, waiting = work.cells[0].ids
    (machine.scratch / "checkpoints" / stopped).mkdir(parents=True)
    (machine.scratch / "checkpoints" / stopped / f"1.{64 * 'a'}.safetensors").touch()
    with lease.take(machine.scratch / "locks" / running, lease.Watch()) or pytest.fail("free"):
        states = {state.id: (state.state, state.epoch) for state in find_states(work, machine)}
    assert states == {stopped: ("stopped", 1), running: ("running", 0), waiting: ("waiting", 0)}


def test_run_off_the_queue_has_the_words_of_its_newest_job(tmp_path: Path) -> None:
    machine, work = Machine(root=str(tmp_path)), workload(tmp_path, 1)
    first, second, third = work.cells[0].ids
    ledger = Ledger(machine.scratch)
    begun = Attempt(job="1_2", node="n", gpu="", started=0.0, start=0, cause="failed", why="loss is NaN")
    ledger.begin(third, begun, 3)
    ended_early = Attempt(job="1_1", node="n", gpu="", started=0.0, start=0, cause="stopped")
    ledger.begin(second, ended_early, 3)  # before its first checkpoint
    states = merge(find_states(work, machine), ended(ledger, work), ledger)
    words = {state.id: (state.state, state.detail) for state in states}
    assert words == {
        first: ("waiting", "job 2_0 is cancelled"),
        second: ("stopped", "job 1_1 is cancelled"),
        third: ("failed", "loss is NaN"),
    }
    assert "job 2_0 is cancelled" in "\n".join(describe(states))


def states_on_disk(folder: Path, work: Workload) -> Callable[[], list[State]]:
    return lambda: find_states(work, Machine(root=str(folder)))


def states_on_a_cluster(folder: Path, work: Workload) -> Callable[[], list[State]]:
    machine = Machine(root=str(folder))
    ledger = Ledger(machine.scratch)
    known = ended(ledger, work)
    for run in (run for cell in work.cells for run in cell.ids):
        begun = Attempt(job="1_0", node="n", gpu="", started=0.0, start=0)
        ledger.begin(run, begun, 3)
    states = find_states(work, machine)
    return lambda: merge(states, known, ledger)


@pytest.mark.parametrize("made", [states_on_disk, states_on_a_cluster])
def test_work_grows_with_the_number_of_runs_and_no_faster(
    tmp_path: Path, made: Callable[[Path, Workload], Callable[[], list[State]]]
) -> None:
    def work(rows: int) -> int:
        return calls(made(tmp_path / str(rows), workload(tmp_path / str(rows), rows))).all

    work(1)  # what is done once, is done
    assert work(160) / work(40) < 4.5


def test_runs_that_have_nothing_on_disk_are_not_looked_for(tmp_path: Path) -> None:
    looks = [calls(states_on_disk(tmp_path, workload(tmp_path, rows))).at_files for rows in (1, 50)]
    assert looks[0] == looks[1] < 30
