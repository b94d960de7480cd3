"""Kept logits: the same numbers, no teacher asked twice, and nothing that is damaged, foreign or too much."""

import os
from collections.abc import Callable
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench import catalog
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.training import recorded
from kdbench.training.bench import Prepared
from kdbench.training.context import TrainingContext
from kdbench.training.images import training_views
from kdbench.training.logits import Logits, key
from kdbench.training.run import train
from kdbench.training.teacher_batches import TeacherBatches
from tests.support.build import CE, KD
from tests.support.training import (
    TEACHER,
    Interrupted,
    Opened,
    copied_to,
    digits,
    forwards,
    kept_of,
    numbers,
    open_digits,
    together,
)

FIRST, SECOND = digits("digits_mlp", KD, TEACHER), digits("digits_mlp", KD, TEACHER, lr=0.01)
EPOCH = 96 * 10 * 4
"""Bytes of an epoch's logits."""


@pytest.fixture
def context(with_teacher: Opened) -> TrainingContext:
    return with_teacher()


@pytest.fixture(scope="module")
def first_trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a context keeps in which `FIRST` was trained, after its teacher."""
    return kept_of([TEACHER, FIRST], tmp_path_factory.mktemp("first"), data)


@pytest.fixture
def after_first(opened: Opened, first_trained: Path) -> TrainingContext:
    """A context with the logits that `FIRST` has left."""
    return copied_to(opened, first_trained)("after first")


@pytest.fixture(scope="module")
def second(data: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    """The numbers of `SECOND` where the teacher is asked by it."""
    context = open_digits(tmp_path_factory.mktemp("second"), data, logits_gib=0)
    train(TEACHER, context)
    result = train(SECOND, context)
    assert files(context) == []
    return numbers(result)


def files(context: TrainingContext) -> list[Path]:
    """All that is kept, whole or not."""
    return sorted(path for path in (context.machine.scratch / "logits").glob("*/*") if path.is_file())


def keep(folder: Path, epoch: int, *batches: Tensor, most: int = 10**6, images: int = 4) -> None:
    with Logits(folder, images, most).keeping(epoch) as add:
        for batch in batches:
            add(batch)


def test_second_run_asks_the_teacher_nothing_and_is_as_one_that_asks(
    after_first: TrainingContext, monkeypatch: pytest.MonkeyPatch, second: object
) -> None:
    seen = forwards("digits_cnn", monkeypatch)
    assert numbers(train(SECOND, after_first)) == second
    assert seen == []


def test_longer_run_asks_only_for_what_is_new(
    after_first: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = forwards("digits_cnn", monkeypatch)
    train(replace(FIRST, recipe=replace(FIRST.recipe, epochs=5)), after_first)
    assert len(seen) == 2 * 3  # epochs, batches


def test_loss_of_features_asks_the_teacher(
    after_first: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its logits are not all that it looks at."""
    seen = forwards("digits_cnn", monkeypatch)
    together([SECOND, digits("digits_mlp", Loss("fnkd", {"lam": 3.0, "tau": 2.0}), TEACHER)], after_first)
    assert len(seen) == 3 * 3


def test_losses_of_logits_look_at_nothing_else(
    after_first: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cohort of all of them asks for nothing; the kept outputs have no features."""
    entries = {name: entry for name, entry in catalog.LOSSES.items() if entry.logits_only}
    losses = [Loss(name, dict(entry.starting_values)) for name, entry in entries.items()]
    seen = forwards("digits_cnn", monkeypatch)
    ended = together([digits("digits_mlp", loss, TEACHER, epochs=1) for loss in losses], after_first)
    assert len(ended) == len(losses) > 5
    assert all(isinstance(end, Result) for end in ended.values())
    assert seen == []


def test_batches_that_are_fewer_than_the_data_are_an_epoch(context: TrainingContext) -> None:
    """As the benches have them: what is measured with kept logits must have kept them."""
    views = training_views(FIRST, context.data.named("digits"), context)
    batches = list(islice(views.epoch(1), 2))
    for _ in range(2):
        given_batches = list(TeacherBatches([FIRST], Prepared(batches), context).epoch(1))
    assert [batch.taught is not None and batch.taught.features.numel() for batch in given_batches] == [0, 0]


def test_run_killed_within_an_epoch_leaves_only_whole_epochs(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "SMALL", 0)  # each step calls the network
    calls = []

    def stop(*_: object) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise Interrupted

    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: stop() if type(module).__name__ == "Network" and module.training else None
    )
    with pytest.raises(Interrupted):
        train(FIRST, context)
    handle.remove()
    assert [path.name.split(".")[0] for path in files(context)] == ["1"]


@pytest.mark.parametrize("damage", [lambda text: text[:-4], lambda text: b"\x01" + text[1:], lambda _: b""])
def test_damaged_logits_are_asked_for_again(
    after_first: TrainingContext,
    monkeypatch: pytest.MonkeyPatch,
    second: object,
    damage: Callable[[bytes], bytes],
) -> None:
    (path,) = [path for path in files(after_first) if path.name.startswith("2.")]
    content = path.read_bytes()
    path.write_bytes(damage(content))
    seen = forwards("digits_cnn", monkeypatch)
    assert numbers(train(SECOND, after_first)) == second
    assert len(seen) == 3
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, seed=1),
        replace(FIRST, teacher=Teacher(TEACHER, "best")),
        digits("digits_mlp", KD, TEACHER, batch_size=16),
        digits("digits_mlp", KD, TEACHER, crop=0),
        digits("digits_mlp", KD, TEACHER, flip=False),
        digits("digits_mlp", KD, TEACHER, rotation=5.0),
        digits("digits_mlp", KD, TEACHER, train_size=95),
        digits("digits_mlp", KD, TEACHER, normalize="cifar10"),
    ],
    ids=lambda run: run.id,
)
def test_other_teacher_or_view_is_another_key(context: TrainingContext, other: Run) -> None:
    weights = context.machine.scratch / "weights" / TEACHER.id
    for path in weights.glob("best.*"):  # the same epoch may be the best one
        path.rename(weights / f"best.{'0' * 64}.safetensors")
    assert key(other, context) != key(FIRST, context)


@pytest.mark.parametrize("other", [SECOND, digits("digits_cnn", KD, TEACHER, optimizer="adam", epochs=7)])
def test_other_student_is_no_other_key(context: TrainingContext, other: Run) -> None:
    assert key(other, context) == key(FIRST, context)


def test_retrained_teacher_is_another_key(context: TrainingContext) -> None:
    before = key(FIRST, context)
    folder = context.machine.scratch / "weights" / TEACHER.id
    (path,) = folder.glob("3.*")
    content = b"others" + path.read_bytes()
    path.unlink()
    (folder / f"3.{sha256(content).hexdigest()}.safetensors").write_bytes(content)
    assert key(FIRST, context) != before


def test_more_than_benchmark_toml_allows_is_not_kept(with_teacher: Opened) -> None:
    """The epochs that came first stay: they are the next ones to be needed."""
    context = with_teacher("here", logits_gib=2.5 * EPOCH / 2**30)
    train(FIRST, context)
    assert [path.name.split(".")[0] for path in files(context)] == ["1", "2"]


def test_keys_that_were_not_used_for_longest_make_room(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "older", "new")):
        keep(tmp_path / name, 1, torch.zeros(4, 8), most=3 * 128)
        os.utime(tmp_path / name, (10 - number, (5, 1, 9)[number]))
    keep(tmp_path / "newest", 1, torch.zeros(4, 8), most=3 * 128)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"old", "new", "newest"}


def test_reading_counts_as_use(tmp_path: Path) -> None:
    for name in ("first", "second"):
        keep(tmp_path / name, 1, torch.zeros(4, 8), most=2 * 128)
        os.utime(tmp_path / name, (1, 1))
    assert Logits(tmp_path / "first", 4, 2 * 128).load(1) is not None
    keep(tmp_path / "third", 1, torch.zeros(4, 8), most=2 * 128)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"first", "third"}


def test_logits_come_back_as_they_were_added(tmp_path: Path) -> None:
    first, last = torch.randn(3, 8), torch.randn(1, 8)
    keep(tmp_path / "key", 7, first, last)
    kept = Logits(tmp_path / "key", 4, 10**6).load(7)
    assert kept is not None
    assert kept.equal(torch.cat([first, last]))
    assert Logits(tmp_path / "key", 4, 10**6).load(8) is None


def test_two_who_keep_the_same_epoch_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch by batch in turn, as two processes."""
    batches = torch.split(torch.randn(4, 8), 1)
    ours, theirs = (Logits(tmp_path / "key", 4, 10**6) for _ in range(2))
    with ours.keeping(1) as add, monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: 7)
        with theirs.keeping(1) as add_too:
            for batch in batches:
                add(batch)
                add_too(batch)
    kept = ours.load(1)
    assert kept is not None
    assert kept.equal(torch.cat(batches))
    assert len(list((tmp_path / "key").iterdir())) == 1


def test_room_made_for_another_while_reading_costs_nothing(tmp_path: Path) -> None:
    """What is mapped stays readable."""
    given = torch.randn(4, 8)
    keep(tmp_path / "key", 1, given, most=128)
    kept = Logits(tmp_path / "key", 4, 128).load(1)
    keep(tmp_path / "other", 1, given, most=128)
    assert not (tmp_path / "key").exists()
    assert kept is not None
    assert kept.equal(given)


def test_unfinished_file_of_a_dead_process_goes_after_a_day(tmp_path: Path) -> None:
    keep(tmp_path / "key", 1, torch.zeros(4, 8))
    old, new = (tmp_path / "key" / f".2.{pid}.part" for pid in (1, 2))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    keep(tmp_path / "key", 3, torch.zeros(4, 8))
    assert (old.exists(), new.exists()) == (False, True)


def test_folder_that_cannot_be_written_costs_no_training(context: TrainingContext) -> None:
    (context.machine.scratch / "logits").write_text("a file where a folder should be", encoding="utf-8")
    assert isinstance(train(FIRST, context), Result)


def test_run_without_a_teacher_keeps_nothing(context: TrainingContext) -> None:
    train(replace(digits("digits_mlp"), loss=CE, recipe=Recipe(epochs=1, batch_size=32, lr=0.1)), context)
    assert files(context) == []
