"""Places that cannot be read or written, and errors of kdbench itself: exit code, one line, no traceback."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench import catalog
from kdbench.commands.failure import HINTS, describe_place
from kdbench.version import __version__
from tests.support.command import Command
from tests.support.permissions import bound_by_permissions, closed

DENIED = "Permission denied; this user may not read or write it"
LOOKING = ["check", "status", "report", "plan", "run --dry-run", "gc -n"]


def words_of(command: str) -> list[str]:
    """A command line; the suite after what takes one."""
    name, *options = command.split()
    takes_suite = name in ("check", "status", "report", "plan", "run")
    return [name, *(["suites/small"] if takes_suite else []), *options]


@pytest.fixture
def scratch(stored: Path) -> Path:
    """A project with results and with something in each folder of scratch."""
    for folder in ("weights/0", "checkpoints/0", "predictions/0", "imported", "locks", "slurm/submissions"):
        (stored / ".kdbench" / folder).mkdir(parents=True)
    (stored / "data").mkdir()
    return stored


@pytest.mark.usefixtures("scratch")
def test_fsck_says_what_it_could_not_look_into(kdbench: Command, scratch: Path) -> None:
    with closed(scratch / ".kdbench" / "weights"):
        done = kdbench("fsck")
    assert done.out.endswith("looked at 6 results; 0 wrong; could not look into 1 folder\n")


@pytest.mark.slow
def test_doctor_goes_on_where_the_data_may_not_be_read(kdbench: Command, scratch: Path) -> None:
    with closed(scratch / "data"):
        done = kdbench("doctor")
    assert (done.code, "cannot be read: Permission denied" in done.out) == (1, True)


@pytest.mark.parametrize("place", ["results", ".kdbench", "data"])
def test_link_to_what_is_not_there_is_told(kdbench: Command, project: Path, place: str) -> None:
    (project / "benchmark.toml").write_text('[data]\nfolder = "data"\n', encoding="utf-8")
    (project / place).symlink_to("/mnt/gone")
    for command in LOOKING:
        done = kdbench(*words_of(command))
        assert done.code == 2
        assert f"{project / place} is a link to /mnt/gone, which is not there" in done.err


def test_link_to_what_is_not_there_is_told_without_a_benchmark_toml(kdbench: Command, project: Path) -> None:
    (project / "benchmark.toml").unlink()
    (project / "results").symlink_to("/mnt/gone")
    done = kdbench("check", "suites/small")
    assert (done.code, "results is a link to /mnt/gone, which is not there" in done.err) == (2, True)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("command", ["plan", "schema"])
def test_full_standard_output_is_told(command: str) -> None:
    words = [sys.executable, "-m", "kdbench", *words_of(command)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False)
    told = "error: standard output: No space left on device; make room; what is finished is kept\n"
    assert (done.returncode, done.stderr.decode()) == (2, told)


@pytest.mark.parametrize("number", HINTS)
def test_error_of_a_place_names_it(number: int) -> None:
    sentence = describe_place(OSError(number, "Reason", "/place"))
    assert sentence == f"/place: Reason; {HINTS[number]}"


def test_other_errors_of_the_system_are_no_mistakes_of_the_input() -> None:
    assert describe_place(OSError(errno.ENOENT, "No such file or directory", "/place")) is None
    assert describe_place(OSError("no number")) is None


def test_error_of_kdbench_itself_is_one_line_with_the_traceback_in_a_file(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.MODELS, "digits_mlp", "broken")
    done = kdbench("check", "suites/small")
    (line,) = done.err.splitlines()
    (kept,) = (project / ".kdbench" / "errors").iterdir()
    assert done.code == 3
    assert line.startswith("error of kdbench itself: AttributeError: ")
    assert line.endswith(f"; the traceback is in {kept}, please report it")
    head, words, _, *trace = kept.read_text(encoding="utf-8").splitlines()
    assert head.startswith(f"kdbench {__version__}, Python ")
    assert words == "kdbench check suites/small"
    assert trace[0] == "Traceback (most recent call last):"


def test_traceback_goes_elsewhere_where_scratch_cannot_be_written(
    kdbench: Command, project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    monkeypatch.setitem(catalog.MODELS, "digits_mlp", "broken")
    (project / ".kdbench").write_text("", encoding="utf-8")
    with bound_by_permissions():
        done = kdbench("lint", "suites/small")
    (kept,) = (elsewhere / "kdbench-errors").iterdir()
    assert (done.code, str(kept) in done.err) == (3, True)


def test_command_in_a_folder_that_was_removed_says_so(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = kdbench("check", "small")
    assert done.code == 2
    assert done.err == "error: the current folder: it was removed; go to one that is there\n"
