"""The way into the command line: Ctrl-C while it is still being imported."""

import signal
import subprocess
import sys

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


def test_interrupt_that_a_script_has_switched_off_stays_so() -> None:
    """As of `kdbench ... &` in a script."""
    done = started(signal.SIG_IGN, "click", "--version")
    assert (done.returncode, done.stderr) == (0, b"")
