"""Full disks, read-only folders, folders that are gone: what a run says then, and that no epoch is lost."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.spec.events import Event, Update
from kdbench.spec.results import RESULT_SCHEMA
from kdbench.store import mounts
from kdbench.store.files import check_writable
from kdbench.store.records import index, load_failure, load_result
from kdbench.training.context import TrainingContext
from tests.support.command import Command
from tests.support.faults.project import digits, epochs, events, failure, numbers
from tests.support.training import open_digits

FULL = "No space left on device; make room, and run it again: what is finished is kept"
RUN = digits()


@pytest.fixture
def truth(tmp_path: Path, data: Path, context: TrainingContext) -> tuple[object, ...]:
    """What the run gives undisturbed."""
    assert context.device.type == "cpu"
    return numbers(events(open_digits(tmp_path / "undisturbed", data), RUN))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill a disk to its last byte."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


def at(epoch: int, act: Callable[[], object]) -> Callable[[Event], None]:
    """Do something when an epoch is over."""

    def look(event: Event) -> None:
        if isinstance(event, Update) and event.epoch == epoch:
            act()

    return look


def test_disk_full_while_writing_a_checkpoint(context: TrainingContext, truth: tuple[object, ...]) -> None:
    with small_disk(context.machine.scratch) as disk:
        failed = failure(events(context, RUN, at(2, lambda: fill(disk))))
        assert failed.failure.cause.split(".safetensors: ")[1].startswith(f"cannot be written: {FULL}")
        assert load_failure(index(context.machine.results).failures[RUN.id]).cause == failed.failure.cause
        (disk / "filler").unlink()
        rerun = events(context, RUN)
        assert (epochs(rerun), numbers(rerun)) == ([3, 4], truth)


def test_disk_full_while_writing_a_result(context: TrainingContext, truth: tuple[object, ...]) -> None:
    with small_disk(context.machine.results) as disk:
        failed = failure(events(context, RUN, at(4, lambda: fill(disk))))
        assert f"{RUN.id}.json: cannot be written: {FULL}" in failed.failure.cause
        assert Path(failed.failure.log).read_text("utf-8").startswith("Traceback")
        (disk / "filler").unlink()
        rerun = events(context, RUN)
        assert (epochs(rerun), numbers(rerun)) == ([], truth)


def test_disk_full_while_writing_a_log(context: TrainingContext) -> None:
    """The cause is kept all the same, and names no log that is not there."""
    logs = [context.machine.results / "digits" / "logs", context.machine.scratch / "logs"]
    with small_disk(logs[0]) as beside, small_disk(logs[1]) as elsewhere:
        fill(beside)
        fill(elsewhere)
        failed = failure(events(context, digits(lr=1e30))).failure
    assert failed.cause == "diverged at epoch 1, step 2: the loss is nan (its log could be written nowhere)"
    assert failed.log == ""


@pytest.mark.usefixtures("in_process")
def test_run_that_fails_for_a_full_disk_is_failed_in_the_report_of_its_command(kdbench: Command) -> None:
    """Its record, too, has no room: nothing but the command itself knows of it."""
    with small_disk(Path("results", "digits")) as disk:  # results/ itself is found to be writable
        fill(disk)
        done = kdbench("run", "suites/small", "--rows", "1.base/digits_mlp", "--seeds", "0")
        assert done.code == 1
        assert "seed 0: FAILED: " in done.err
        assert "No space left on device" in done.err
        assert "seed 0 failed: " in done.out
        assert "not run yet" not in done.out
        assert index(Path("results")).results == index(Path("results")).failures == {}


def test_results_that_are_read_only(context: TrainingContext, truth: tuple[object, ...]) -> None:
    with small_disk(context.machine.results) as disk:

        def turn(how: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

        failed = failure(events(context, RUN, at(2, lambda: turn("ro"))))
        assert "cannot be written: Read-only file system" in failed.failure.cause
        with pytest.raises(UserError, match="cannot be written: Read-only file system"):
            check_writable(context.machine.results)
        turn("rw")
        rerun = events(context, RUN)
        assert (epochs(rerun), numbers(rerun)) == ([], truth)


def away(folder: Path, seconds: float, *, hidden: bool) -> None:
    """Take a folder away for a while; `hidden`: an empty one stands in its place, as under a mount point."""
    other = folder.with_name(f"{folder.name}.away")
    folder.rename(other)
    if hidden:
        folder.mkdir()

    def back() -> None:
        if hidden:
            assert os.listdir(folder) == [], "written into the folder under the mount point"  # noqa: PTH208
            folder.rmdir()
        other.rename(folder)

    threading.Timer(seconds, back).start()


@pytest.mark.parametrize("hidden", [False, True], ids=["gone", "hidden"])
@pytest.mark.parametrize("what", ["results", "scratch"])
def test_folder_that_is_gone_for_a_while(
    context: TrainingContext,
    truth: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    *,
    hidden: bool,
) -> None:
    monkeypatch.setattr(mounts, "LOOK", 0.02)
    folder = Path(context.machine.root, what)
    epoch = 4 if what == "results" else 2
    emitted = events(context, RUN, at(epoch, lambda: away(folder, 0.5, hidden=hidden)))
    assert (epochs(emitted), numbers(emitted)) == ([1, 2, 3, 4], truth)
    assert load_result(index(context.machine.results).results[RUN.id]).schema == RESULT_SCHEMA


def test_folder_that_does_not_come_back(context: TrainingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "LOOK", 0.02)
    monkeypatch.setattr(mounts, "MOUNT_TIMEOUT_S", 0.2)
    folder = context.machine.results
    failed = failure(events(context, RUN, at(4, lambda: folder.rename(folder.with_name("away")))))
    assert failed.failure.cause == f"{folder}: the folder has been gone for 0 seconds"
    folder.with_name("away").rename(folder)
    assert epochs(events(context, RUN)) == []


@pytest.mark.parametrize("jump", [-1e9, 1e9], ids=["back", "forward"])
def test_clock_that_jumps(
    context: TrainingContext, truth: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """The time of day jumps at each look at it: no number, and no duration, comes from it."""
    import time

    now = time.time()

    def jumping() -> float:
        nonlocal now
        now += jump
        return now

    monkeypatch.setattr(time, "time", jumping)
    emitted = events(context, RUN)
    assert numbers(emitted) == truth
    result = load_result(index(context.machine.results).results[RUN.id])
    assert 0 < result.seconds < 60
