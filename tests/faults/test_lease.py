"""One run, one trainer: who holds it, when an owner counts as dead, and that one who comes back notices."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.store import lease
from kdbench.store.lease import Lease, LostError, Watch, owner, remove_free, take

HOLD = """
import sys, time
from pathlib import Path
from kdbench.store import lease
lease.kernel = lambda: {kernel!r}
held = lease.take(Path(sys.argv[1]), lease.Watch())
print("held" if held else "taken", flush=True)
time.sleep(60)
"""
"""A process that takes a run and sleeps; on a machine of its own if it says so."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The watcher's own clock, which a test moves."""
    now = [1000.0]
    monkeypatch.setattr(lease, "monotonic", lambda: now[0])
    return now


@contextmanager
def holding(folder: Path, kernel: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """A real process that holds a run."""
    command = [sys.executable, "-c", HOLD.format(kernel=kernel or lease.kernel()), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process is on another machine."""
    monkeypatch.setattr(lease, "kernel", lambda: "another machine")


def held(folder: Path, watch: Watch | None = None) -> Lease:
    found = take(folder, watch or Watch())
    assert found is not None
    return found


def test_run_is_held_by_one(tmp_path: Path) -> None:
    with held(tmp_path / "run"):
        assert take(tmp_path / "run", Watch()) is None


def test_run_that_was_given_back_is_taken_at_once(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        with held(tmp_path) as found:
            assert (found.number, os.listdir(tmp_path)) == (number, [str(number)])  # noqa: PTH208


def test_many_at_once_and_one_gets_it(tmp_path: Path) -> None:
    start = threading.Barrier(16)

    def race(_: int) -> Lease | None:
        start.wait()
        return take(tmp_path / "run", Watch())

    with ThreadPoolExecutor(16) as pool:
        winners = [found for found in pool.map(race, range(16)) if found is not None]
    assert len(winners) == 1
    winners[0].check()
    winners[0].give_back()


def test_dead_owner_on_this_machine_is_found_out_at_once(tmp_path: Path) -> None:
    with holding(tmp_path) as process:
        assert take(tmp_path, Watch()) is None
        process.kill()
        process.wait()
        with held(tmp_path) as found:
            assert found.number == 2


def test_stopped_owner_on_this_machine_is_not_dead(tmp_path: Path, clock: list[float]) -> None:
    with holding(tmp_path) as process:
        process.send_signal(signal.SIGSTOP)
        watch = Watch()
        for clock[0] in (0.0, 1e6):
            assert take(tmp_path, watch) is None


def test_dead_owner_on_another_machine_is_found_out_after_the_time(
    tmp_path: Path, clock: list[float]
) -> None:
    with holding(tmp_path, "another machine") as process:
        process.kill()
        watch, start = Watch(), clock[0]
        for clock[0] in (start, start + lease.LEASE_TIMEOUT_S - 0.1):
            assert take(tmp_path, watch) is None
        clock[0] = start + lease.LEASE_TIMEOUT_S
        with held(tmp_path, watch) as found:
            assert found.number == 2


def test_beating_owner_on_another_machine_keeps_its_run(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the two clocks run: the watcher counts from the last change that it saw."""
    with held(tmp_path) as found:
        elsewhere(monkeypatch)
        watch = Watch()
        for beat in range(1, 6):
            assert take(tmp_path, watch) is None
            clock[0] += 0.9 * lease.LEASE_TIMEOUT_S
            found.write(beat=beat)
        assert take(tmp_path, watch) is None


@pytest.mark.parametrize("jump", [-1e9, 1e9], ids=["back", "forward"])
def test_clock_that_jumps_lets_no_owner_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """The time of day decides nothing, neither in the hold nor on its file."""
    with held(tmp_path) as found:
        elsewhere(monkeypatch)
        watch = Watch()
        assert take(tmp_path, watch) is None
        now = (tmp_path / "1").stat().st_mtime + jump
        monkeypatch.setattr(lease, "time", lambda: now)
        os.utime(tmp_path / "1", (now, now))
        assert take(tmp_path, watch) is None
        found.check()


def test_owner_beats_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = threading.Semaphore(0)
    write = Lease.write

    def count(self: Lease, *, beat: int = 0, free: bool = False) -> None:
        write(self, beat=beat, free=free)
        beats.release()

    monkeypatch.setattr(lease, "BEAT", 0.01)
    monkeypatch.setattr(Lease, "write", count)
    with held(tmp_path):
        assert all(beats.acquire(timeout=600) for _ in range(4))


def test_owner_that_was_thought_dead_notices(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = held(tmp_path)
    elsewhere(monkeypatch)
    watch = Watch()
    assert take(tmp_path, watch) is None
    clock[0] += lease.LEASE_TIMEOUT_S
    with held(tmp_path, watch) as found:
        found.check()
        with pytest.raises(LostError, match="another process trains it now"):
            late.check()
    late.give_back()
    with held(tmp_path) as rerun:
        assert rerun.number == 3


def test_owner_whose_folder_was_removed_notices(tmp_path: Path) -> None:
    with held(tmp_path / "run") as found:
        (tmp_path / "run" / "1").unlink()
        with pytest.raises(LostError):
            found.check()


def test_damaged_hold_is_waited_for_and_taken(tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "4").write_bytes(b"\xff{")
    watch = Watch()
    assert take(tmp_path, watch) is None
    clock[0] += lease.LEASE_TIMEOUT_S
    with held(tmp_path, watch) as found:
        assert found.number == 5


def test_owner_is_told_as_long_as_it_lives(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    with holding(tmp_path) as process:
        holder = owner(tmp_path)
        assert holder is not None
        assert holder.pid == process.pid
    assert owner(tmp_path) is None


def test_owner_that_gave_its_run_back_is_not_told(tmp_path: Path) -> None:
    held(tmp_path).give_back()
    assert owner(tmp_path) is None


def test_folder_of_a_free_run_can_be_removed_and_of_a_held_one_not(tmp_path: Path) -> None:
    with held(tmp_path / "run"):
        remove_free(tmp_path / "run")
        assert (tmp_path / "run" / "1").exists()
    remove_free(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"locks/run: cannot be written"):
        take(tmp_path / "locks" / "run", Watch())
