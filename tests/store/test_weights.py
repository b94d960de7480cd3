"""Weights that are kept for those who learn from them."""

from pathlib import Path

import pytest

from kdbench.store.files import digest
from kdbench.store.weights import checkpoints, checkpoints_of, newest_checkpoint, weights_file, weights_there

RUN = "0123456789ab"


def keep_weights(scratch: Path, epoch: int | str, content: bytes) -> Path:
    """Weights of a run as training leaves them."""
    folder = scratch / "weights" / RUN
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "new").write_bytes(content)
    return (folder / "new").rename(folder / f"{epoch}.{digest(folder / 'new')}.safetensors")


def test_weights_are_found_by_their_epoch(tmp_path: Path) -> None:
    first, best = (keep_weights(tmp_path, epoch, str(epoch).encode()) for epoch in (1, "best"))
    assert [weights_file(tmp_path, RUN, epoch) for epoch in (1, "best", 11)] == [first, best, None]


def test_altered_weights_are_not_found(tmp_path: Path) -> None:
    keep_weights(tmp_path, 1, b"a").write_bytes(b"b")
    assert weights_file(tmp_path, RUN, 1) is None


@pytest.mark.parametrize(("epochs", "there"), [((), True), ((1,), True), ((1, 2), False)])
def test_weights_are_there_if_each_epochs_are(
    tmp_path: Path, epochs: tuple[int, ...], *, there: bool
) -> None:
    keep_weights(tmp_path, 1, b"a")
    assert weights_there(tmp_path, RUN, epochs) is there


def test_checkpoints_are_found_the_newest_first_whatever_lies_beside_them(tmp_path: Path) -> None:
    folder = checkpoints_of(tmp_path, RUN)
    assert (checkpoints(folder), newest_checkpoint(tmp_path, RUN)) == ([], 0)
    (folder / "weights").mkdir(parents=True)
    whole = [folder / f"{epoch}.{64 * 'a'}.safetensors" for epoch in (11, 10, 9)]
    for path in (*whole, folder / f".12.{64 * 'a'}.safetensors.part", folder / "best.safetensors"):
        path.touch()
    assert checkpoints(folder) == whole
    assert newest_checkpoint(tmp_path, RUN) == 11
