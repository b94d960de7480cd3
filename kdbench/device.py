"""What trains here: a processor or a GPU by its name, found without torch. Measured speeds are kept by it."""

import os
import platform
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from msgspec import Struct

from kdbench.formatting import plural
from kdbench.machine import Machine


class Device(Struct, frozen=True):
    """What a speed depends on, apart from the work."""

    name: str
    """The model of the GPU, or of the processor."""
    threads: int | None
    """Of one run; None on a GPU."""

    def __str__(self) -> str:
        return self.name if self.threads is None else f"{self.name}, {plural(self.threads, 'thread')}"

    @property
    def stem(self) -> str:
        """As the name of a file."""
        return re.sub(r"[^a-z0-9]+", "-", str(self).lower()).strip("-")


def device_at_hand(machine: Machine) -> Device:
    """What `kdbench run` would train on here: benchmark.toml's device; with `auto` the first GPU, if any."""
    wanted = machine.local.device
    name = None if wanted == "cpu" else gpu_name(int(wanted.partition(":")[2] or 0))
    return Device(cpu_name(), machine.local.threads) if name is None else Device(name, None)


def device_of(environment: Mapping[str, object]) -> Device:
    """What a stored result was trained on."""
    if environment.get("device") == "cuda":
        return Device(str(environment.get("gpu")), None)
    threads = environment.get("threads")
    return Device(str(environment.get("cpu")), threads if isinstance(threads, int) else 1)


@cache
def cpu_name() -> str:
    """The processor's model."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def gpu_name(number: int) -> str | None:
    """The model of a GPU as its driver names it; None where there is no such GPU."""
    if not any(os.access(f"{folder}/nvidia-smi", os.X_OK) for folder in os.get_exec_path()):
        return None
    import subprocess

    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        output = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    names = output.splitlines()
    return names[number].strip() if number < len(names) else None
