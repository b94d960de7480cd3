"""How many runs fit into memory beside each other."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench import catalog
from kdbench.spec.events import Task
from kdbench.spec.runs import Run
from kdbench.training.graphs import uses_graphs
from kdbench.training.memory import GIB, Need, give_back_kept, in_use, need_of
from kdbench.training.objective import distiller_bytes

if TYPE_CHECKING:
    from kdbench.training.context import TrainingContext

SHARE = 0.8
"""Of the machine's memory, or the device's, that runs may fill."""
PIXEL = 4
"""Bytes of a padded training image's pixel, all channels (data/views.py)."""
WORKSPACE = 1.25
"""What convolutions need beside what they keep: measured, 0.95 to 1.4 times the gradients and activations."""
PROBE = 4
"""Images of the step by which activations are counted; they grow with the batch."""


def fitting(tasks: Sequence[Task], context: "TrainingContext") -> list[Sequence[Task]]:
    """Cut a cohort so that each part fits; one that does not fit alone is tried all the same.

    Before a cohort is cut, what the C library keeps of an earlier one is given back: until then it counts as
    in use. Where all fits it is left, as taking it again costs time.
    """
    if len(tasks) < 2:
        return [tasks]
    most = room(context)
    if estimate([task.run for task in tasks], context) <= most:
        return [tasks]
    give_back_kept(context.device)
    parts: list[list[Task]] = [[]]
    for task in tasks:
        if parts[-1] and estimate([other.run for other in (*parts[-1], task)], context) > most:
            parts.append([])
        parts[-1].append(task)
    return list(parts)


def room(context: "TrainingContext") -> float:
    """Bytes that one process may use: benchmark.toml's, else a share of the device's or the machine's."""
    local, cuda = context.machine.local, context.device.type == "cuda"
    sharing = local.runs_per_gpu if cuda else local.workers or 1
    if local.memory_gib is not None:
        return local.memory_gib * GIB / sharing
    whole = torch.cuda.get_device_properties(context.device).total_memory if cuda else _machine()
    return SHARE * whole / sharing


def estimate(runs: Sequence[Run], context: "TrainingContext") -> float:
    """Bytes at the peak of training runs beside each other: of the device on a GPU, of this process on a CPU.

    Weights and the optimizer's state are every run's own and stay; gradients and activations live from a
    run's forward pass to its step: there is room for the largest. The data are there once, and so is the
    teacher. Held against measured peaks by tests/training/test_memory.py.
    """
    recipe = runs[0].recipe
    entry = catalog.find("datasets", runs[0].dataset)
    padded = (entry.size + 2 * recipe.crop) ** 2
    images = 0  # at a size they are read as needed
    if not recipe.size:
        images = recipe.images(entry.train) * padded * PIXEL
    images -= context.kept.padded_bytes  # in use, and kept or replaced
    teacher = runs[0].teacher
    taught = _need(teacher.run, context).weights if teacher else 0
    # On a CPU a checkpoint is written beside the next epoch, one at a time: a copy of a run's tensors, and
    # the bytes of the file that is made of them. With a GPU these lie in the host's memory; but while a CUDA
    # graph is made of a step, there are two copies of what it changes.
    copies = 2 if (context.device.type == "cpu" and recipe.epochs > 1) or uses_graphs(context) else 0
    own = step = gradients = copied = 0.0
    for run in runs:
        need, (parameters, buffers) = _need(run, context), _beside(run)
        times = 1 + run.recipe.moments  # a weight, and what the optimizer remembers of it
        own += times * (need.weights + parameters) + buffers
        step = max(step, 2 * need.weights + run.recipe.batch_size * need.activations)
        gradients = max(gradients, parameters)
        copied = max(copied, copies * times * need.weights)
    beside = images + taught + own + gradients + copied
    return float(in_use(context.device) + beside + WORKSPACE * step)


def _beside(run: Run) -> tuple[int, int]:
    """Bytes of what is trained beside a student, and of its memory; 0 of what cannot be made, as `_need`."""
    try:
        return distiller_bytes(run)
    except Exception:  # noqa: BLE001 - a run's own failure is reported when it is trained
        return 0, 0


def _need(run: Run, context: "TrainingContext") -> Need:
    """What a run's network takes; nothing, where it cannot be made: that is found out when it is trained."""
    key = (run.student, run.dataset, run.recipe.classes, run.recipe.size)
    needs = context.kept.needs
    if key not in needs:
        try:
            needs[key] = need_of(context.network(replace(run, weights=None)), _probe(run, context))
        except Exception:  # noqa: BLE001 - a run's own failure is reported when it is trained
            return Need(0, 0.0)
    return needs[key]


def _probe(run: Run, context: "TrainingContext") -> Tensor:
    entry = catalog.find("datasets", run.dataset)
    side = run.recipe.size or entry.size
    return torch.zeros(PROBE, entry.channels, side, side, device=context.device)


def _machine() -> float:
    """Bytes of this machine, or of the control group that this process is in."""
    limits = [inf]
    with suppress(OSError):  # no Linux
        limits += group_limits(Path("/proc/self/cgroup").read_text(encoding="ascii"), Path("/sys/fs/cgroup"))
    with suppress(OSError, ValueError):
        limits.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    return min(limits)


def group_limits(groups: str, root: Path) -> Iterator[float]:
    """The limits in bytes of a process's control groups, of either version, and of those around them.

    Args:
        groups: what /proc/PID/cgroup says: lines of NUMBER:CONTROLLERS:PATH.
        root: where control groups are mounted.
    """
    files = {"": "memory.max", "memory": "memory.limit_in_bytes"}
    for _, kind, path in (line.split(":", 2) for line in groups.splitlines()):
        top = root / kind
        folder = top / path.lstrip("/")
        for place in (folder, *folder.parents) if kind in files else ():
            if place.is_relative_to(top):
                with suppress(OSError, ValueError):  # "max", or a container that does not see it
                    yield float((place / files[kind]).read_text(encoding="ascii"))
