"""What a result records of where and from what it was made: versions, machine, data, teacher."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import torch

from kdbench.device import cpu_name
from kdbench.spec.results import Environment
from kdbench.spec.runs import Run
from kdbench.store.imported import find_imported
from kdbench.store.weights import weights_file
from kdbench.training.context import TrainingContext
from kdbench.version import __version__


def environment(device: torch.device) -> Environment:
    """What a number may depend on beside the run, its data and its teacher: versions and the machine."""
    return {
        "kdbench": __version__,
        **_commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "system": platform.platform(terse=True),
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "started": now(),
    }


def now() -> str:
    """The time of day as results have it, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def _commit() -> dict[str, str | bool | None]:
    """Which commit of kdbench's own source this is, and whether it was changed since."""
    here = Path(__file__).parent
    asked = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--", ".", "../../suites"]]
    try:
        commit, changes = (
            subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603
            for command in asked
        )
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def input_digests(run: Run, context: TrainingContext) -> dict[str, str | None]:
    """What all epochs of a run must have in common, whenever they are trained."""
    return {
        "data": context.data.of(run).content,
        "teacher": _teacher_digest(run, context.machine.scratch),
    }


def _teacher_digest(run: Run, scratch: Path) -> str | None:
    """The sha256 of the weights that taught; of those before training, which their run is."""
    if run.teacher is not None and not run.teacher.trained:
        return f"{run.teacher.run.id}, untrained"
    if run.teacher is not None:
        file = weights_file(scratch, run.teacher.run.id, run.teacher.epoch)
        return file.name.split(".")[1] if file else None
    imported = find_imported(run, scratch)
    return imported[1].sha256 if imported else None
