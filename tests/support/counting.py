"""Work as a number that is the same on every machine."""

import sys
from collections.abc import Callable
from types import FrameType

FILES = ("posix", "_io")
"""Python's own modules that look at files."""


def calls(work: Callable[[], object], *modules: str) -> int:
    """How many functions are called while something is done; with modules of C, those of these alone."""
    counted = 0

    def count(_frame: FrameType, event: str, of: object) -> None:
        nonlocal counted
        if modules:
            counted += event == "c_call" and getattr(of, "__module__", "") in modules
        else:
            counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted
