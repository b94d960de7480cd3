"""What trained networks leave in scratch: weights that teach, and checkpoints.

SCRATCH/weights/ID/EPOCH.SHA256.safetensors       weights after an epoch, or at the `best`
SCRATCH/checkpoints/ID/EPOCH.SHA256.safetensors   where a run goes on (training/checkpoint.py)
"""

import re
from collections.abc import Collection
from pathlib import Path

from kdbench.store.files import is_whole, names_in

_CHECKPOINT = re.compile(r"(\d{1,9})\.[0-9a-f]{64}\.safetensors")


def weights_file(scratch: Path, run: str, epoch: int | str) -> Path | None:
    """A run's checkpoint after an epoch, or at its `best`, if it is there and whole."""
    for path in sorted((scratch / "weights" / run).glob(f"{epoch}.*.safetensors")):
        if is_whole(path):
            return path
    return None


def remove_damaged(scratch: Path, run: str, epoch: int | str) -> None:
    """Plans count files: without the damaged ones the next plan trains the run again."""
    for path in (scratch / "weights" / run).glob(f"{epoch}.*.safetensors"):
        if not is_whole(path):
            path.unlink(missing_ok=True)


def weights_there(scratch: Path, run: str, epochs: Collection[int | str]) -> bool:
    """Whether files of these names exist; their content is checked when they are used."""
    folder = scratch / "weights" / run
    return all(any(folder.glob(f"{epoch}.*.safetensors")) for epoch in epochs)


def checkpoints_of(scratch: Path, run: str) -> Path:
    """The folder of a run's checkpoints."""
    return scratch / "checkpoints" / run


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, the newest first."""
    epochs = {match[0]: int(match[1]) for match in map(_CHECKPOINT.fullmatch, names_in(folder)) if match}
    return [folder / name for name in sorted(epochs, key=epochs.__getitem__, reverse=True)]


def newest_checkpoint(scratch: Path, run: str) -> int:
    """The epoch of a run's newest checkpoint; 0 where it has none."""
    found = checkpoints(checkpoints_of(scratch, run))
    return int(found[0].name.partition(".")[0]) if found else 0
