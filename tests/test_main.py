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


@pytest.mark.parametrize("module", ["kdbench.cli", "click", "kdbench.commands.listing", "kdbench.suite.load"])
def test_interrupt_during_an_import_ends_without_a_traceback(module: str) -> None:
    command = [sys.executable, "-c", CODE, module, "list", "rows", "quickstart"]
    done = subprocess.run(command, check=False, capture_output=True)
    assert (done.returncode, b"Traceback" in done.stderr, done.stdout) == (130, False, b"")


def test_interrupt_that_a_script_has_switched_off_stays_so() -> None:
    """As of `kdbench ... &` in a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = [sys.executable, "-c", CODE, "click", "--version"]
        done = subprocess.run(command, check=False, capture_output=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (0, b"")
