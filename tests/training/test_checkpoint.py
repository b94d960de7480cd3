"""Checkpoints: what they bring back, which are kept, and what becomes of a damaged one."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kdbench.errors import DivergedError, UserError
from kdbench.spec.events import Done, Elsewhere, Event, Failed, Task
from kdbench.spec.results import Segment
from kdbench.spec.runs import Loss, Recipe
from kdbench.store.files import digest
from kdbench.store.lease import LostError
from kdbench.store.weights import checkpoints, weights_file
from kdbench.training import checkpoint
from kdbench.training.checkpoint import (
    Progress,
    Writer,
    load_progress,
    publish,
    save_progress,
    save_weights,
    tensors_of,
    weights_content,
)
from kdbench.training.context import TrainingContext
from kdbench.training.optim import Optimizer, make_optimizer
from kdbench.training.student_run import StudentRun
from kdbench.training.task import do
from tests.support.training import digits, ends, numbers, open_digits

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
        save_progress(folder, at(epoch), tensors_of(*make(epoch)), BASIS)


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
    save_progress(tmp_path, before, tensors_of(model, optimizer), BASIS)
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
    save_progress(tmp_path, progress, tensors_of(model, optimizer), BASIS)
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
    save_progress(tmp_path, at(2, best=second), tensors_of(*make(2)), BASIS)
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
    save_progress(tmp_path, at(1, **kept), tensors_of(model, optimizer), BASIS)
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


# Beside the training: what is written are copies, one after the other, and its failure is its run's.

WAIT_S = 120.0
"""For something that must happen while a checkpoint is written; never reached unless it does not."""
RUNS = (digits(), digits(loss=Loss("lsr", {"epsilon": 0.2})))
Save = Callable[..., None]


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """What must not depend on when a checkpoint was written, of each of `RUNS`."""
    return list(map(content, ends(open_digits(tmp_path_factory.mktemp("undisturbed"), data), RUNS)))


def content(end: Event) -> tuple[object, ...]:
    assert isinstance(end, Done), end
    return *numbers(end.result), end.result.predicted


def there(context: TrainingContext) -> list[Path]:
    """The checkpoints of the first run."""
    return checkpoints(context.machine.scratch / "checkpoints" / RUNS[0].id)


def saving(monkeypatch: pytest.MonkeyPatch, act: Callable[[Save, Path, Progress], None]) -> None:
    """Let `save_progress` do something else: `act` gets the call to it, and what it is of."""
    save_it = checkpoint.save_progress

    def saved(folder: Path, progress: Progress, *rest: Any, **settings: Any) -> None:  # noqa: ANN401 - its own
        act(lambda: save_it(folder, progress, *rest, **settings), folder, progress)

    monkeypatch.setattr(checkpoint, "save_progress", saved)


def test_checkpoint_is_written_while_the_next_epoch_trains(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch, undisturbed: list[object]
) -> None:
    trained = {epoch: threading.Event() for epoch in (1, 2, 3)}
    step = StudentRun.step

    def stepped(run: StudentRun, number: int, steps: int, batch: Any) -> None:  # noqa: ANN401 - a batch
        step(run, number, steps, batch)
        if number == steps - 1:
            trained[run.epoch].set()

    def late(save_it: Save, _: Path, progress: Progress) -> None:
        if progress.epoch < 3:
            assert trained[progress.epoch + 1].wait(WAIT_S)
        save_it()

    monkeypatch.setattr(StudentRun, "step", stepped)
    saving(monkeypatch, late)
    [end] = ends(context, RUNS[:1])
    assert content(end) == undisturbed[0]


def test_checkpoints_of_a_cohort_are_written_one_after_the_other(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str, int]] = []

    def noted(save_it: Save, folder: Path, progress: Progress) -> None:
        written.append(("begins", folder.name, progress.epoch))
        save_it()
        written.append(("ends", folder.name, progress.epoch))

    saving(monkeypatch, noted)
    assert all(isinstance(end, Done) for end in ends(context, RUNS))
    one_by_one = [(epoch, run.id) for epoch in (1, 2, 3) for run in RUNS]
    assert written == [(what, run, epoch) for epoch, run in one_by_one for what in ("begins", "ends")]


@pytest.mark.parametrize("diverges", [False, True], ids=["goes on", "diverges meanwhile"])
@pytest.mark.parametrize("error", [UserError("the disk is full"), LostError("another process trains it")])
def test_what_a_checkpoint_fails_with_is_its_runs_end_and_no_others(
    context: TrainingContext,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: list[object],
    error: Exception,
    *,
    diverges: bool,
) -> None:
    step = StudentRun.step

    def fails(save_it: Save, folder: Path, progress: Progress) -> None:
        if (folder.name, progress.epoch) == (RUNS[0].id, 2):
            raise error
        save_it()

    def stepped(run: StudentRun, *rest: Any) -> None:  # noqa: ANN401 - of a step
        if diverges and (run.run.id, run.epoch) == (RUNS[0].id, 3):
            raise DivergedError("diverged")
        step(run, *rest)

    monkeypatch.setattr(StudentRun, "step", stepped)
    saving(monkeypatch, fails)
    first, second = ends(context, RUNS)
    if isinstance(error, LostError):
        assert first == Elsewhere(RUNS[0].id)
    else:
        assert isinstance(first, Failed)
        assert first.failure.cause == "the disk is full"
    assert content(second) == undisturbed[1]
    assert [path.name.split(".")[0] for path in there(context)] == ["1"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_whoever_leaves_waits_for_the_checkpoint_with_the_run_in_hold(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    left = threading.Event()
    wait = Writer.wait

    def leaving(writer: Writer) -> None:
        if writer.last is not None:
            left.set()
        wait(writer)

    def late(save_it: Save, folder: Path, _: Progress) -> None:
        assert left.wait(WAIT_S)
        assert folder.name in context.leases.held
        save_it()

    def stopped(_: Event) -> None:
        raise stop

    monkeypatch.setattr(Writer, "wait", leaving)
    saving(monkeypatch, late)
    with pytest.raises(stop):
        do([Task(RUNS[0])], context, stopped)
    assert not context.leases.held
    [path] = there(context)
    assert checkpoint.read_progress(path) is not None


def test_writer_goes_on_after_a_failure() -> None:
    writer = Writer()

    def fail() -> None:
        raise UserError("the disk is full")

    failed = writer.start(fail)
    assert writer.start(lambda: 7).result() == 7
    with pytest.raises(UserError, match="the disk is full"):
        failed.result()
    assert threading.current_thread() != writer.start(threading.current_thread).result()


def test_copies_do_not_change_with_what_they_are_of() -> None:
    model, optimizer = make(1)
    copies = tensors_of(model, optimizer)
    before = {name: value.clone() for name, value in copies.items()}
    with torch.no_grad():
        for value in (*model.state_dict().values(), *optimizer.state):
            value.add_(1)
    assert all(value.equal(before[name]) for name, value in copies.items())
    assert all(value.is_contiguous() for value in copies.values())
