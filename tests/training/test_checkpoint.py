"""Checkpoints: what they bring back, which are kept, and what becomes of a damaged one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kdbench.errors import UserError
from kdbench.spec.results import Segment
from kdbench.spec.runs import Recipe
from kdbench.store.records import digest, weights_file
from kdbench.training import checkpoint
from kdbench.training.checkpoint import (
    Progress,
    checkpoints,
    load_progress,
    publish,
    save_progress,
    save_weights,
    weights_content,
)
from kdbench.training.optim import Optimizer, make_optimizer

BASIS = {"data": "d" * 64, "teacher": None}
RECIPE = Recipe(epochs=9, batch_size=1, lr=0.1, momentum=0.9)


def make(seed: int) -> tuple[nn.Module, Optimizer]:
    """A network with weights and statistics, and an optimizer with a past."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(RECIPE, list(model.parameters()))
    model(torch.randn(3, 2, 5, 5)).square().sum().backward()
    optimizer.step(0.01)
    return model, optimizer


def at(epoch: int, **weights: str) -> Progress:
    return Progress(epoch, [1.5] * epoch, [0.1] * epoch, [0.3] * epoch, [0.7] * epoch, 2.25, 1000, weights)


def save(folder: Path, *epochs: int) -> None:
    """The checkpoint of each of these epochs; its weights are those of the epoch's seed."""
    for epoch in epochs:
        save_progress(folder, at(epoch), *make(epoch), BASIS)


def same(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(value.equal(theirs[name]) for name, value in a.state_dict().items())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_progress_comes_back_whole(tmp_path: Path) -> None:
    (model, optimizer), (other, others) = make(1), make(2)
    before = at(3, best="a" * 64)
    save_progress(tmp_path, before, model, optimizer, BASIS)
    assert load_progress(tmp_path, other, others, BASIS) == before
    assert same(model, other)
    assert all(a.equal(b) for a, b in zip(optimizer.state, others.state, strict=True))


def test_progress_of_a_run_that_has_none_is_the_start(tmp_path: Path) -> None:
    (model, optimizer), (untouched, _) = make(1), make(1)
    assert load_progress(tmp_path, model, optimizer, BASIS) == Progress()
    assert same(model, untouched)


def test_two_generations_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 8, 9, 10, 11)
    assert [path.name.split(".")[0] for path in checkpoints(tmp_path)] == ["11", "10"]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit], ids=["truncated", "bit flipped"])
def test_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    save(tmp_path, 1, 2)
    damage(checkpoints(tmp_path)[0])
    model, optimizer = make(5)
    assert load_progress(tmp_path, model, optimizer, BASIS).epoch == 1
    assert same(model, make(1)[0])


def test_damaged_checkpoints_leave_the_start(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    for path in checkpoints(tmp_path):
        flip_a_bit(path)
    model, optimizer = make(5)
    assert load_progress(tmp_path, model, optimizer, BASIS) == Progress()
    assert same(model, make(5)[0])


def test_damaged_checkpoint_does_not_count_as_a_generation(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    flip_a_bit(checkpoints(tmp_path)[0])
    model, optimizer = make(5)
    progress = load_progress(tmp_path, model, optimizer, BASIS)
    progress.epoch = 2
    save_progress(tmp_path, progress, model, optimizer, BASIS)
    whole = [path for path in checkpoints(tmp_path) if digest(path) == path.name.split(".")[1]]
    assert [path.name.split(".")[0] for path in whole] == ["2", "1"]


def test_unfinished_file_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / f".2.{'0' * 64}.safetensors.99.part").write_bytes(b"half")
    assert load_progress(tmp_path, *make(5), BASIS).epoch == 1


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    (model, _), (other, _) = make(1), make(2)
    sha = save_weights(tmp_path, "best", weights_content(model))
    checkpoint.load_weights(tmp_path / f"best.{sha}.safetensors", other)
    assert same(model, other)


def test_weights_are_named_by_their_content(tmp_path: Path) -> None:
    sha = save_weights(tmp_path, 3, weights_content(make(1)[0]))
    assert digest(tmp_path / f"3.{sha}.safetensors") == sha
    assert save_weights(tmp_path, 3, weights_content(make(2)[0])) != sha


def test_weights_that_nobody_needs_any_more_go(tmp_path: Path) -> None:
    first = save_weights(tmp_path / "weights", "best", weights_content(make(1)[0]))
    second = save_weights(tmp_path / "weights", "best", weights_content(make(2)[0]))
    save_progress(tmp_path, at(2, best=second), *make(2), BASIS)
    assert [path.name.split(".")[1] for path in (tmp_path / "weights").iterdir()] == [second]
    assert first != second


def test_publish_replaces_an_earlier_trainings_weights(tmp_path: Path) -> None:
    folder, weights = tmp_path / "checkpoint", tmp_path / "weights" / "run"
    for seed in (1, 2):
        sha = save_weights(folder / "weights", "best", weights_content(make(seed)[0]))
        publish(folder, weights, {"best": sha})
    assert weights_file(tmp_path, "run", "best") == weights / f"best.{sha}.safetensors"
    assert len(list(weights.iterdir())) == 1


def test_publish_leaves_weights_of_other_epochs(tmp_path: Path) -> None:
    early = save_weights(tmp_path / "weights" / "run", 1, weights_content(make(1)[0]))
    late = save_weights(tmp_path / "weights", 10, weights_content(make(2)[0]))
    publish(tmp_path, tmp_path / "weights" / "run", {"10": late})
    kept = {path.name for path in (tmp_path / "weights" / "run").iterdir()}
    assert kept == {f"1.{early}.safetensors", f"10.{late}.safetensors"}


def test_publish_again_changes_nothing(tmp_path: Path) -> None:
    """A run that ended between handing over its weights and writing its result does it twice."""
    kept = {"best": save_weights(tmp_path / "weights", "best", weights_content(make(1)[0]))}
    for _ in range(2):
        publish(tmp_path, tmp_path / "weights" / "run", kept)
    assert weights_file(tmp_path, "run", "best") is not None


def test_every_file_is_safetensors(tmp_path: Path) -> None:
    model, optimizer = make(1)
    kept = {"best": save_weights(tmp_path / "weights", "best", weights_content(model))}
    save_progress(tmp_path, at(1, **kept), model, optimizer, BASIS)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(load_file(path) and not path.read_bytes().startswith(b"\x80") for path in files)


def test_forget_removes_a_runs_checkpoints(tmp_path: Path) -> None:
    save(tmp_path / "run", 1)
    checkpoint.forget(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_checkpoint_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be", "utf-8")
    with pytest.raises(UserError, match=r"run/1\..*: cannot be written"):
        save(tmp_path / "run", 1)


# Who trained which epochs.


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        ((3,), [(1, 3, 0)]),
        ((2, 3), [(1, 2, 0), (3, 3, 1)]),
        ((2, 2, 3), [(1, 2, 0), (3, 3, 2)]),
        ((3, 3), [(1, 3, 0)]),
    ],
    ids=["one", "two", "one without an epoch", "one after the last epoch"],
)
def test_segments_are_the_epochs_of_each_process(ends: tuple[int, ...], found: list[tuple[int, ...]]) -> None:
    progress = Progress()
    for process, end in enumerate(ends):
        progress.start({"threads": process})
        progress.epoch = end
    read = [(each.first_epoch, each.last_epoch, each.environment["threads"]) for each in progress.segments]
    assert read == found


def test_checkpoint_that_does_not_say_who_trained_it_is_a_segment_of_nobody() -> None:
    progress = at(2)
    progress.start({"threads": 1})
    progress.epoch = 3
    assert progress.segments == (Segment(1, 2, {}), Segment(3, 3, {"threads": 1}))
