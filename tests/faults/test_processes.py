"""Processes that are stopped, killed, doubled or thought dead: real ones, from outside."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdbench.spec.events import Elsewhere
from kdbench.store import lease
from kdbench.store.lease import Holder, owner
from kdbench.store.records import index, load_result
from kdbench.store.weights import checkpoints_of, newest_checkpoint
from kdbench.training.context import TrainingContext
from tests.support.faults.project import (
    digits,
    epochs,
    events,
    make_suite,
    numbers,
    start,
    wait_for,
)
from tests.support.places import ROOT
from tests.support.processes import descendants

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LONG = digits(epochs=400)
WORKER = """
import sys
from pathlib import Path
from kdbench.store import lease
lease.kernel = lambda: "another machine"
from tests.support.faults.project import digits, events
from tests.support.training import open_digits
context = open_digits(Path(sys.argv[1]), Path(sys.argv[2]))
print("begins", flush=True)
print(type(events(context, digits(epochs=400))[-1]).__name__, flush=True)
"""
"""A machine of its own that trains `LONG`."""


def kept(folder: Path) -> int:
    """The epoch of the newest checkpoint of a project's only run under way."""
    scratch = folder / ".kdbench"
    runs = [path.name for path in scratch.glob("checkpoints/*")]
    return max((newest_checkpoint(scratch, run) for run in runs), default=0)


def alive(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("to", ["driver", "all"])
def test_signal_ends_everything_and_is_no_failure(tmp_path: Path, sent: signal.Signals, to: str) -> None:
    """To the driver alone, as `kill` sends it, and to all, as a closed terminal or systemd does."""
    make_suite(tmp_path, epochs=4000)
    process = start(tmp_path)
    wait_for(lambda: kept(tmp_path), process)
    workers = descendants(process.pid)
    (os.kill if to == "driver" else os.killpg)(process.pid, sent)
    _, output = process.communicate(timeout=600)
    assert (process.returncode, "the same command goes on" in output) == (CODES[sent], True), output
    wait_for(lambda: not any(map(alive, workers)))
    there = index(tmp_path / "results")
    assert (there.results, there.failures) == ({}, {})


@pytest.mark.slow
def test_driver_that_is_killed_takes_its_workers_along_and_the_next_goes_on(tmp_path: Path) -> None:
    make_suite(tmp_path, epochs=100)
    process = start(tmp_path)
    wait_for(lambda: kept(tmp_path) >= 2, process)
    workers = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, workers)))
    epoch = kept(tmp_path)
    rerun = start(tmp_path)
    wait_for(lambda: kept(tmp_path) > epoch or index(tmp_path / "results").results, rerun)
    _, output = rerun.communicate(timeout=600)
    assert rerun.returncode == 0, output
    [path] = index(tmp_path / "results").results.values()
    assert len(load_result(path).curve.top1) == 100


@pytest.mark.slow
def test_two_drivers_at_once_share_the_work(tmp_path: Path) -> None:
    """Each run is trained by one of them; the other says so."""
    make_suite(tmp_path, seeds=4, epochs=30)
    both = [start(tmp_path, "--json") for _ in range(2)]
    output = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    lines = [line for _, errors in output for line in errors.splitlines() if "top1" in line and "[" in line]
    trained = [line for line in lines if "trained by another process" not in line]
    assert len(trained) == 4, output
    there = index(tmp_path / "results")
    assert (len(there.results), there.repeats) == (4, {})
    assert json.loads(output[0][0]) == json.loads(output[1][0])


@pytest.fixture
def other(context: TrainingContext, data: Path) -> Iterator[subprocess.Popen[str]]:
    """Another machine that trains `LONG` in the same folders, until it has a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, context.machine.root, str(data)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: newest_checkpoint(context.machine.scratch, LONG.id) >= 2, process)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_run_of_a_machine_that_died_is_taken_over_after_the_time(
    context: TrainingContext, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events(context, LONG) == [Elsewhere(LONG.id)]
    other.kill()
    other.wait()
    kept = newest_checkpoint(context.machine.scratch, LONG.id)
    assert events(context, LONG) == [Elsewhere(LONG.id)]
    monkeypatch.setattr(lease, "LEASE_TIMEOUT_S", 0.0)
    emitted = events(context, LONG)
    assert epochs(emitted) == list(range(kept + 1, 401))
    assert numbers(emitted)


@pytest.mark.slow
def test_machine_that_was_thought_dead_comes_back_and_leaves_the_run(
    context: TrainingContext, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped as by a laptop's lid: it may write nothing into what is another's by now."""
    other.send_signal(signal.SIGSTOP)
    assert events(context, LONG) == [Elsewhere(LONG.id)]
    monkeypatch.setattr(lease, "LEASE_TIMEOUT_S", 0.0)
    came_back: list[Holder | None] = []

    def wake(_: object) -> None:
        if not came_back:
            came_back.append(owner(context.machine.scratch / "locks" / LONG.id))
            other.send_signal(signal.SIGCONT)

    emitted = events(context, LONG, wake)
    assert numbers(emitted)
    out, _ = other.communicate(timeout=600)
    assert out.split() == ["begins", "Elsewhere"]
    assert index(context.machine.results).repeats == {}
    assert not checkpoints_of(context.machine.scratch, LONG.id).exists()
