"""The way into the command line: Ctrl-C while it is still being imported."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)

MODULE = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupt())
from kdbench.__main__ import main
main()
"""
"""A command line that gets Ctrl-C when it imports the module that its first word names."""

STREAMS = """
import os
from kdbench.cli import open_closed_streams, run
open_closed_streams()
if not all(map(os.get_inheritable, range(3))):
    raise SystemExit("a worker would lack one")
raise SystemExit(run())
"""
"""A command line that first looks at its standard streams."""


def started(handler: signal.Handlers, *words: str, code: str = CODE) -> subprocess.CompletedProcess[bytes]:
    """Such a command line, started by one that has Ctrl-C ignored or not; this one may have it ignored."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        return subprocess.run([sys.executable, "-c", code, *words], check=False, capture_output=True)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("kdbench.cli", b"\nstopped\n"),
        (
            "kdbench.commands.listing",
            b"\nstopped; what is finished is kept, and the same command goes on from there\n",
        ),
    ],
)
def test_interrupt_during_an_import_ends_without_a_traceback(module: str, says: bytes) -> None:
    done = started(signal.SIG_DFL, module, "list", "rows", "quickstart")
    assert (done.returncode, done.stderr, done.stdout) == (130, says, b"")


def test_interrupt_at_the_very_end_prints_no_traceback() -> None:
    """As Ctrl-C that is pressed again and again."""
    at_exit = "import atexit, os, signal\natexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    done = started(
        signal.SIG_DFL, "kdbench.commands.listing", "list", "rows", "quickstart", code=at_exit + CODE
    )
    assert (done.returncode, b"Exception" in done.stderr, done.stderr.count(b"stopped")) == (130, False, 1)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_error(closed: str, tmp_path: Path) -> None:
    """And the null device is in their place, for workers too."""
    words = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", STREAMS]
    done = subprocess.run([*words, "list", "rows", "quickstart"], cwd=tmp_path, check=False)
    assert (done.returncode, list(tmp_path.rglob("*"))) == (0, [])


def test_interrupt_that_a_script_has_switched_off_stays_so() -> None:
    """As of `kdbench ... &` in a script."""
    done = started(signal.SIG_IGN, "click", "--version")
    assert (done.returncode, done.stderr) == (0, b"")
