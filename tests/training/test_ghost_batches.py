"""A batch in parts: what it is by definition; one process and two, here or elsewhere, give the same."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import Tensor

from kdbench import catalog
from kdbench.cluster.profiles import Ask, Profile
from kdbench.cluster.profiles import Work as WorkOfProfile
from kdbench.errors import UserError
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.run.executor import default_workers, gpu_sets
from kdbench.run.preflight import check_ghost_batches
from kdbench.spec.events import Died, Done, Event, Failed, Task, Update
from kdbench.spec.results import Result
from kdbench.spec.runs import Recipe, Run, Teacher
from kdbench.store.records import index, load_result, weights_file
from kdbench.suite.load import load_suite
from kdbench.training import ghost_batches
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.group import Group, cut
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from kdbench.training.task import do
from kdbench.training.teacher_batches import DistillationBatch
from kdbench.workers.agent import assist
from kdbench.workers.rendezvous import Address, Crew, Door
from tests.support.build import CE, KD, make_run
from tests.support.command import Command
from tests.support.plugins import install, plugin, uninstall
from tests.support.project import change, write_suite

POINTS = "[kdbench.models]\nnormed = normed_cnn:ENTRY\n"
MODULE = """
from torch import nn

from kdbench.catalog import ModelEntry
from kdbench.models.output import Network

ENTRY = ModelEntry(code="normed_cnn:normed_cnn", least_size=8)


def normed_cnn(classes, channels):
    body = [nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)]
    return Network(nn.Sequential(*body), nn.Linear(4 * 36, classes))
"""
"""A model with batch norm and dropout, as other processes find it too: in an installed package."""

RECIPE = Recipe(
    epochs=2,
    batch_size=32,
    lr=0.02,
    momentum=0.9,
    crop=1,
    flip=True,
    train_size=98,
    test_size=101,
    ghost_batches=4,
)
"""The last batch has two images: two of its parts are empty, those of the second process."""


NORMED = plugin("normed_cnn", MODULE)


def digits(student: str = "normed", **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    run = replace(make_run(student, 0, CE), dataset="digits", data=catalog.DATASETS["digits"].digest)
    used = (NORMED,) if student == "normed" else ()
    return replace(run, recipe=replace(RECIPE, **settings), plugins=used)


TEACHER = digits("digits_cnn")
STUDENT = replace(digits(), loss=KD, teacher=Teacher(TEACHER, 2))


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path, "normed_cnn", MODULE, POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    uninstall("normed_cnn")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., TrainingContext]]:
    """Worlds that share the data and nothing else, by name and processes."""

    def make(name: str, processes: int = 1) -> TrainingContext:
        local = Local(device="cpu", processes=processes, checkpoint_seconds=0)
        data = Data(folder=str(tmp_path / "data"), offline=True)
        folders = Folders(results="results", scratch="scratch")
        return open_context(Machine(local=local, data=data, folders=folders, root=str(tmp_path / name)))

    before = torch.get_deterministic_debug_mode()
    yield make
    torch.set_deterministic_debug_mode(before)


def done(context: TrainingContext, run: Run) -> Result:
    """The result of a run as a worker trains it."""
    told: list[Event] = []
    do([Task(run)], context, told.append)
    assert isinstance(told[-1], Done), told[-1]
    return told[-1].result


def weights(context: TrainingContext, run: Run) -> dict[str, Tensor]:
    path = weights_file(context.machine.scratch, run.id, run.recipe.epochs)
    assert path is not None
    return load_file(path)


def assert_same(first: tuple[TrainingContext, Result], second: tuple[TrainingContext, Result]) -> None:
    """To rounding: curves, weights and running statistics."""
    (a, one), (b, two) = first, second
    assert one.id == two.id
    assert two.curve.train_loss == pytest.approx(one.curve.train_loss, rel=1e-4)
    assert two.curve.test_loss == pytest.approx(one.curve.test_loss, rel=1e-4)
    assert two.curve.top1 == pytest.approx(one.curve.top1, abs=1.0)
    torch.testing.assert_close(weights(b, two.run), weights(a, one.run), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("images", "sizes"), [(32, [8, 8, 8, 8]), (10, [3, 3, 2, 2]), (2, [1, 1, 0, 0])])
def test_parts_of_a_batch_are_equal_to_one_image(images: int, sizes: list[int]) -> None:
    assert [part.stop - part.start for part in cut(images, 4)] == sizes


@pytest.mark.parametrize("images", [32, 10, 2])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_do_each_image_of_a_batch_once(images: int, size: int) -> None:
    batch, found, share = list(range(images)), [], 0.0
    for rank in range(size):
        group = Group(rank, size)
        here = batch[group.share(4)(images)]
        for part in group.parts(4, images):
            found += here[part.here]
            share += part.share
    assert found == batch
    assert share == pytest.approx(1)


def test_one_part_without_dropout_is_the_whole_batch_bit_for_bit(
    opened: Callable[..., TrainingContext],
) -> None:
    whole = train(digits("digits_cnn", ghost_batches=0), opened("whole"))
    part = train(digits("digits_cnn", ghost_batches=1), opened("part"))
    assert (part.curve.train_loss, part.weights) == (whole.curve.train_loss, whole.weights)


def distilled(images: int = 32) -> DistillationBatch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 1, 8, 8, generator=generator)
    return DistillationBatch(x, torch.randint(10, (images,), generator=generator), None, images)


def learn(student_run: StudentRun, given: DistillationBatch) -> Tensor:
    loss = student_run._loss  # noqa: SLF001
    return ghost_batches.learn(student_run.run, (1, 0), student_run.student, loss, given, Group())


def test_gradient_is_the_mean_over_parts_that_know_nothing_of_each_other(
    opened: Callable[..., TrainingContext],
) -> None:
    given = distilled()
    student_run, other = (StudentRun(Task(TEACHER), opened(name)) for name in ("one", "other"))
    student_run.begin(1)
    other.begin(1)
    loss = learn(student_run, given)
    each = [other._loss(given.x[part], given.y[part], None) for part in cut(32, 4)]  # noqa: SLF001
    mean = torch.stack(each).mean()
    mean.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, mean.detach())
    for ours, theirs in zip(student_run.student.parameters(), other.student.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_running_statistics_are_the_mean_of_what_the_parts_make_of_them(
    opened: Callable[..., TrainingContext],
) -> None:
    given, student_run = distilled(), StudentRun(Task(TEACHER), opened("here"))
    student_run.begin(1)
    learn(student_run, given)
    norm = next(each for each in student_run.student.modules() if isinstance(each, torch.nn.BatchNorm2d))
    conv = next(each for each in student_run.student.modules() if isinstance(each, torch.nn.Conv2d))
    seen = conv(given.x).detach()
    var = torch.stack([seen[part].var(dim=(0, 2, 3)) for part in cut(32, 4)]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * var)
    assert norm.num_batches_tracked == 1


def test_number_of_parts_is_part_of_the_identity() -> None:
    assert len({digits(ghost_batches=number).id for number in (0, 1, 2, 4)}) == 4


@pytest.mark.slow
def test_two_processes_give_the_same_as_one(opened: Callable[..., TrainingContext]) -> None:
    """With batch norm, dropout, a teacher and a short last batch; the same files are written."""
    worlds = [opened("one"), opened("two", 2)]
    results = [[done(context, run) for run in (TEACHER, STUDENT)] for context in worlds]
    for one, two in zip(*results, strict=True):
        assert_same((worlds[0], one), (worlds[1], two))
        assert (one.environment["processes"], two.environment["processes"]) == (1, 2)
    assert results[1][1].predictions.keys() == results[0][1].predictions.keys()


@pytest.mark.slow
def test_two_processes_go_on_where_one_was_stopped(opened: Callable[..., TrainingContext]) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    here, whole, seen = opened("here"), opened("whole"), list[int]()
    with pytest.raises(KeyboardInterrupt):
        train(digits(), here, watch=stop)
    here.machine = replace(here.machine, local=replace(here.machine.local, processes=2))
    told: list[Event] = []
    do([Task(digits())], here, told.append)
    seen = [event.epoch for event in told if isinstance(event, Update)]
    assert seen == [2]
    assert isinstance(told[-1], Done)
    assert_same((whole, train(digits(), whole)), (here, told[-1].result))


def kill_children() -> None:
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)


@pytest.mark.slow
def test_process_that_dies_ends_the_run_and_no_other(opened: Callable[..., TrainingContext]) -> None:
    context, told = opened("here", 2), list[Event]()
    long = digits(epochs=500)

    def emit(event: Event) -> None:
        told.append(event)
        if isinstance(event, Update) and event.id == long.id and event.epoch == 1:
            kill_children()

    do([Task(long), Task(digits(epochs=1))], context, emit)
    (died,) = [event for event in told if isinstance(event, Died)]
    assert died.id == long.id
    assert died.why.startswith("process 2 of the run died (SIGKILL")
    assert isinstance(told[-1], Done)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_process_that_fails_says_why(
    opened: Callable[..., TrainingContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment has no such model: the first process's has."""
    monkeypatch.setitem(catalog.MODELS, "only_here", catalog.MODELS["digits_cnn"])
    context, told = opened("here", 2), list[Event]()
    do([Task(digits("only_here"))], context, told.append)
    assert isinstance(told[-1], Failed)
    assert "process 2 of the run failed: " in told[-1].failure.cause
    assert "only_here" in told[-1].failure.cause


@contextmanager
def crew_of(context: TrainingContext) -> Iterator[None]:
    """Another node's process of the world's runs, until they are over."""
    context.door = Door(crews=1, each=1, here=1)
    says: list[Address | None] = [context.door.address]
    crew = Thread(target=assist, args=(Crew(1, (0,), "n2"), context.machine, lambda: says[0]))
    crew.start()
    try:
        yield
    finally:
        says[0] = None
        for called in context.door.called:
            called.pipe.close()
        context.door.socket.close()
        crew.join(20)
        assert not crew.is_alive()


@pytest.mark.slow
def test_process_of_another_node_gives_the_same_as_one(opened: Callable[..., TrainingContext]) -> None:
    one, two = opened("one"), opened("two")
    with crew_of(two):
        results = [[done(context, run) for run in (TEACHER, STUDENT)] for context in (one, two)]
    for alone, together in zip(*results, strict=True):
        assert_same((one, alone), (two, together))
        assert together.environment["processes"] == 2
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_process_of_another_node_that_dies_ends_the_run_and_no_other(
    opened: Callable[..., TrainingContext],
) -> None:
    context, told = opened("here"), list[Event]()
    long = digits(epochs=500)

    def emit(event: Event) -> None:
        told.append(event)
        if isinstance(event, Update) and event.id == long.id and event.epoch == 1:
            kill_children()

    with crew_of(context):
        do([Task(long), Task(digits(epochs=1))], context, emit)
    (died,) = [event for event in told if isinstance(event, Died)]
    assert died.id == long.id
    assert died.why.startswith("process 2 of the run died (SIGKILL")
    assert isinstance(told[-1], Done)


@pytest.mark.slow
def test_divergence_of_a_shared_run_is_told_as_that_of_any(opened: Callable[..., TrainingContext]) -> None:
    told: list[Event] = []
    do([Task(digits(lr=1e30))], opened("here", 2), told.append)
    assert isinstance(told[-1], Failed)
    assert told[-1].failure.cause.startswith("diverged at epoch 1, step 2")


def test_processes_that_cannot_share_a_run_are_refused() -> None:
    with pytest.raises(UserError, match="in no ghost batches; --set ghost_batches=3") as refused:
        check_ghost_batches([digits(ghost_batches=0), digits(), digits(ghost_batches=6)], 3)
    assert len(refused.value.problems) == 2
    check_ghost_batches([digits(ghost_batches=0)], 1)


def test_parts_that_do_not_divide_the_batch_are_refused(tmp_path: Path) -> None:
    path = write_suite(tmp_path, change(("batch_size = 32", "batch_size = 32\nparts = 5")))
    with pytest.raises(UserError, match="ghost_batches = 5; they must divide batch_size = 32"):
        load_suite(path)


def test_worker_of_several_processes_has_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    machine = Machine(local=Local(processes=2))
    assert (gpu_sets(machine, 2), default_workers(machine)) == (["0,1", "2,3"], 2)


@pytest.mark.slow
def test_task_on_a_node_shares_its_runs(opened: Callable[..., TrainingContext]) -> None:
    from kdbench.cluster.node import Assignment, Work, supervise

    context, run = opened("node", 2), digits(epochs=1)
    context.dataset("digits")
    work = Work(context.machine, (Assignment(Task(run), 2),), {}, 1, 10, 60)
    assert supervise(work, "1", context.machine.scratch / "door") == 1
    result = load_result(index(context.machine.results).results[run.id])
    assert result.environment["processes"] == 2


@pytest.mark.slow
def test_command_trains_with_several_processes(kdbench: Command, project: Path) -> None:
    few = ("--rows", "1.base/digits_mlp", "--seeds", "0", "--set", "epochs=1", "--set", "ghost_batches=2")
    done = kdbench("run", "suites/small", *few, "--processes", "2", "--json")
    assert done.code == 0, done.err
    (path,) = index(project / "results").results.values()
    assert load_result(path).environment["processes"] == 2


def test_command_refuses_runs_without_parts(kdbench: Command) -> None:
    done = kdbench("run", "suites/small", "--processes", "2")
    assert done.code == 2
    assert "processes = 2 do not share" in done.err
    assert "Traceback" not in done.err


def test_profile_leaves_a_slot_for_the_gpus_of_each_run() -> None:
    profile = Profile(name="x", slurm=Ask(gpus_per_node=8), work=WorkOfProfile(processes=4))
    assert profile.workers == 2
