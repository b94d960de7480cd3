"""Whether this machine can train, and what to fix."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from kdbench.data.place import list_datasets, where
from kdbench.errors import UserError
from kdbench.formatting import plural
from kdbench.machine import Machine, load_machine
from kdbench.run.executor import default_workers
from kdbench.store.files import check_writable


class Diagnosis(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    found: str
    ok: bool = True


def examine() -> list[Diagnosis]:
    """Everything that a run needs.

    Raises:
        UserError: benchmark.toml is wrong.
    """
    machine = load_machine()
    return [
        Diagnosis("python", platform.python_version(), sys.version_info >= (3, 11)),
        *_torch(machine),
        *examine_folders({"results": machine.results, "scratch": machine.scratch}),
        *_data(machine),
    ]


def _torch(machine: Machine) -> Iterator[Diagnosis]:
    import torch

    yield Diagnosis("torch", torch.__version__)
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield Diagnosis("GPUs", ", ".join(names) or "none: runs are trained on the CPU")
    wanted = machine.local.device
    lacking = wanted.startswith("cuda") and int(wanted.partition(":")[2] or 0) >= len(names)
    hint = "; there is no such GPU: set [local] device = 'auto' in benchmark.toml" if lacking else ""
    yield Diagnosis("device", f"{wanted}{hint}", not lacking)
    yield examine_workers(machine, len(os.sched_getaffinity(0)))


def examine_workers(machine: Machine, cores: int) -> Diagnosis:
    """How many runs there are at a time, and whether they have more threads than there are cores."""
    workers, each = default_workers(machine), machine.local.threads * machine.local.processes
    found = f"{plural(workers, 'run')} at a time, {plural(each, 'thread')} each, {plural(cores, 'core')}"
    if workers * each > cores:
        found += f"; {workers * each:,} threads wait for each other: lower workers or threads of [local]"
    return Diagnosis("workers", found)


def examine_folders(folders: Mapping[str, Path]) -> Iterator[Diagnosis]:
    """Whether folders can be written, and how much room is left there."""
    for what, folder in folders.items():
        try:
            check_writable(folder)
        except UserError as error:
            yield Diagnosis(what, str(error), ok=False)
        else:
            free = shutil.disk_usage(folder).free / 1e9
            yield Diagnosis(what, f"{folder}, {free:,.0f} GB free")


def _data(machine: Machine) -> Iterator[Diagnosis]:
    place = where(machine.data_folder)
    yield Diagnosis("data", f"{place.path} ({place.by})")
    try:
        rows = list_datasets(place.path)
    except OSError as error:
        yield Diagnosis("data sets", f"{error.filename}: cannot be read: {error.strerror}", ok=False)
        return
    for row in rows:
        hint = "" if row.state != "missing" else f"; kdbench data fetch {row.name}"
        yield Diagnosis(row.name, f"{row.state}{hint}")
