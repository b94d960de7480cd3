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


def started(handler: signal.Handlers, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Such a command line, started by one that has Ctrl-C ignored or not; this one may have it ignored."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        return subprocess.run([sys.executable, "-c", CODE, *words], check=False, capture_output=True)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("module", ["kdbench.cli", "kdbench.commands.listing"])
def test_interrupt_during_an_import_ends_without_a_traceback(module: str) -> None:
    done = started(signal.SIG_DFL, module, "list", "rows", "quickstart")
    assert (done.returncode, b"Traceback" in done.stderr, done.stdout) == (130, False, b"")


def test_interrupt_that_a_script_has_switched_off_stays_so() -> None:
    """As of `kdbench ... &` in a script."""
    done = started(signal.SIG_IGN, "click", "--version")
    assert (done.returncode, done.stderr) == (0, b"")
