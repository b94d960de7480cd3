"""Workers keep the memory that a step gives back: the next one finds its pages there."""

import os
import platform
import subprocess
import sys

import pytest

from kdbench.workers.process import ALLOCATOR

FAULTS = """
import resource
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**27)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(tunables: str) -> int:
    """Pages that the kernel must make for 128 MiB, just given back and asked for again."""
    told = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**os.environ, "GLIBC_TUNABLES": tunables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(told.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is told to glibc")
def test_memory_that_was_given_back_needs_no_new_pages() -> None:
    assert faults(ALLOCATOR) < 100
    assert faults("glibc.malloc.check=0") > 1000
