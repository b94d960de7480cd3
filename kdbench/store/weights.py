"""What trained networks leave in scratch: weights that teach, and checkpoints.

SCRATCH/weights/ID/EPOCH.SHA256.safetensors       weights after an epoch, or at the `best`
SCRATCH/checkpoints/ID/EPOCH.SHA256.safetensors   where a run goes on (training/checkpoint.py)
"""

import re
from collections.abc import Collection
from pathlib import Path

from kdbench.store.files import is_whole, names_in

_CHECKPOINT = re.compile(r"(\d{1,9})\.[0-9a-f]+\.safetensors$")


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


def newest_checkpoint(folder: Path) -> int:
    """The epoch of a run's newest checkpoint; 0 where it has none."""
    found = filter(None, map(_CHECKPOINT.match, names_in(folder)))
    return max((int(match[1]) for match in found), default=0)
