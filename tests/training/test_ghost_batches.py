"""A batch in parts: what it is by definition; one process and several ranks give the same."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench.cluster.profiles import JobRequest, Profile
from kdbench.cluster.profiles import Work as WorkOfProfile
from kdbench.errors import UserError
from kdbench.machine import Local, Machine
from kdbench.plan.expand import weights_needed
from kdbench.run.dispatch import dispatch
from kdbench.run.executor import LocalExecutor, default_workers, gpu_sets
from kdbench.run.preflight import check_ghost_batches
from kdbench.spec.events import Done, Event, Failed, Task, Update
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.store.records import index, load_result
from kdbench.suite.load import load_suite
from kdbench.training import ghost_batches
from kdbench.training.context import TrainingContext
from kdbench.training.distillers.crd import Contrastive
from kdbench.training.distillers.distiller import Step
from kdbench.training.group import Group, cut
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from kdbench.training.teacher_batches import DistillationBatch
from tests.support.build import CE, KD
from tests.support.command import Command
from tests.support.distillers import SETTINGS
from tests.support.plugins import install, plugin, uninstall
from tests.support.processes import children
from tests.support.project import change, write_suite
from tests.support.training import Opened, ends, interrupted, kept_of, network_left, numbers
from tests.support.training import digits as run_on_digits

POINTS = "[kdbench.models]\nnormed = normed_cnn:ENTRY\n"
MODULE = """
import os

from torch import nn

from kdbench.catalog import ModelEntry
from kdbench.models.output import Network

ENTRY = ModelEntry(code="normed_cnn:normed_cnn", least_size=8)


class Room(nn.Module):
    def __init__(self):
        super().__init__()
        look("made")

    def forward(self, x):
        look("used")
        return x


def look(when):
    if os.environ.get("RANK") == "1" and os.environ.get("SECOND_RANK_FAILS_WHEN") == when:
        raise RuntimeError("no room")


def normed_cnn(classes, channels):
    body = [nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), Room()]
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
"""The last batch has two images: two of its parts are empty."""


NORMED = plugin("normed_cnn", MODULE)


def digits(student: str = "normed", **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    used = (NORMED,) if student == "normed" else ()
    return replace(run_on_digits(student, recipe=RECIPE, **settings), plugins=used)


TEACHER = digits("digits_cnn")
CRD = Loss("crd", SETTINGS["crd"])
ALL = {
    "clip_norm": 0.5, "label_smoothing": 0.1, "ema": 0.8, "randaugment": 2, "random_erasing": 0.5,
    "mixup": 1.0, "cutmix": 1.0, "validation_size": 20,
}  # fmt: skip
"""What a recipe may do to a batch, an image, a gradient and the weights."""


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path, "normed_cnn", MODULE, POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    uninstall("normed_cnn")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a context keeps of this file's teacher, trained once for all tests."""
    return kept_of([TEACHER], tmp_path_factory.mktemp("teacher"), data)


def weights(context: TrainingContext, run: Run) -> dict[str, Tensor]:
    return network_left(context, run, run.recipe.epochs).state_dict()


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
def test_ranks_do_each_image_of_a_batch_once(images: int, size: int) -> None:
    batch, found, weight = list(range(images)), [], 0.0
    for rank in range(size):
        group = Group(rank, size)
        here = batch[group.images_of(4)(images)]
        for part in group.parts(4, images):
            found += here[part.here]
            weight += part.weight
    assert found == batch
    assert weight == pytest.approx(1)


def test_ranks_evaluate_whole_batches_in_turn() -> None:
    batches = [list(range(64)), list(range(64)), list(range(10))]
    each = [Group(rank, 2).batches_in_turn() for rank in range(2)]
    assert [[len(batch[take(len(batch))]) for batch in batches] for take in each] == [[64, 0, 10], [0, 64, 0]]


@pytest.mark.parametrize("loss", [CE, CRD], ids=lambda loss: loss.name)
def test_one_part_without_dropout_is_the_whole_batch_bit_for_bit(with_teacher: Opened, loss: Loss) -> None:
    """A memory of each image included."""
    context, teacher = with_teacher(), Teacher(TEACHER, 2) if loss is CRD else None
    runs = [digits("digits_cnn", ghost_batches=parts, epochs=1) for parts in (0, 1)]
    whole, part = (train(replace(run, loss=loss, teacher=teacher), context) for run in runs)
    assert (part.curve.train_loss, part.weights) == (whole.curve.train_loss, whole.weights)


def distilled(images: int = 32) -> DistillationBatch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 1, 8, 8, generator=generator)
    y = torch.randint(10, (images,), generator=generator)
    return DistillationBatch(x, y, None, torch.arange(images), images)


def learn(student_run: StudentRun, given: DistillationBatch) -> Tensor:
    loss = student_run.loss
    at = Step(given.indices, 1, 0, student_run.run.seed)
    return ghost_batches.learn(student_run.run, at, student_run.trained, loss, given, Group())


def test_gradient_is_the_mean_over_parts_that_know_nothing_of_each_other(
    opened: Opened,
) -> None:
    given = distilled()
    student_run, other = (StudentRun(Task(TEACHER), opened(name)) for name in ("one", "other"))
    student_run.begin(1)
    other.begin(1)
    loss = learn(student_run, given)
    parts = [ghost_batches.cut_batch(given, part) for part in cut(32, 4)]
    each = [other.loss(part, Step(part.indices, 1, 0, 0)) for part in parts]
    mean = torch.stack(each).mean()
    mean.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, mean.detach())
    for ours, theirs in zip(student_run.student.parameters(), other.student.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_running_statistics_are_the_mean_of_what_the_parts_make_of_them(
    opened: Opened,
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


def test_memory_is_written_after_the_last_part_with_what_all_have_noted(
    with_teacher: Opened,
) -> None:
    """Every part reads the memory of before the step, and draws negatives of its own."""
    run = replace(TEACHER, loss=CRD, teacher=Teacher(TEACHER, 2))
    runs = [StudentRun(Task(run), with_teacher(name)) for name in ("one", "other")]
    with torch.no_grad():
        given = distilled()._replace(taught=runs[0].student.eval()(distilled().x))
    for each in runs:
        each.begin(1)
    ours, theirs = (each.objective for each in runs)
    assert isinstance(ours, Contrastive)
    assert isinstance(theirs, Contrastive)
    before = ours.memory.clone()
    learn(runs[0], given)
    for number, here in enumerate(cut(32, 4)):
        part = ghost_batches.cut_batch(given, here)
        runs[1].loss(part, Step(part.indices, 1, 0, 0, number))
        assert theirs.memory.equal(before)
        theirs.Z.fill_(-1.0)
    assert len(theirs.noted) == 4
    theirs.write()
    torch.testing.assert_close(ours.memory, theirs.memory)
    assert (ours.memory != before).any(dim=2)[:, :32].all()
    assert ours.memory[:, 32:].equal(before[:, 32:])
    assert not ours.noted


def test_parts_draw_numbers_of_their_own() -> None:
    at = Step(torch.arange(4), 1, 0, 0)
    drawn = [torch.rand(3, generator=at._replace(part=part).generator()).tolist() for part in (0, 1, 2)]
    assert len({tuple(each) for each in drawn}) == 3


def test_number_of_parts_is_part_of_the_identity() -> None:
    assert len({digits(ghost_batches=number).id for number in (0, 1, 2, 4)}) == 4


def together(
    context: TrainingContext, *runs: Run, look: Callable[[LocalExecutor, Event], None] = lambda *_: None
) -> list[Event]:
    """What happens to runs that a worker of several ranks trains."""
    executor, events = LocalExecutor(context.machine, 1), list[Event]()
    try:
        for event in dispatch(runs, executor, keep=weights_needed(runs), cohorts=False):
            events.append(event)
            look(executor, event)
    finally:
        executor.close()
    return events


def results(events: list[Event]) -> list[Result]:
    return [event.result for event in events if isinstance(event, Done)]


def causes(events: list[Event]) -> list[str]:
    return [event.failure.cause for event in events if isinstance(event, Failed)]


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("ranks", "number", "settings", "model", "loss"),
    [
        (4, 4, {}, "normed", KD),
        (2, 4, {}, "normed", KD),
        (2, 2, ALL, "normed", KD),
        (2, 2, {}, "digits_cnn", Loss("vid", SETTINGS["vid"])),  # with maps, and trained beside the student
        (2, 2, {}, "digits_cnn", CRD),  # with a memory of each image
        (2, 4, {}, "digits_cnn", CRD),
    ],
)
def test_ranks_give_the_same_as_one_process(
    opened: Opened,
    ranks: int,
    number: int,
    settings: dict[str, Any],
    model: str,
    loss: Loss,
) -> None:
    """With batch norm, dropout, a teacher and a short last batch; bit for bit with one part for each rank."""
    teacher = digits("digits_cnn", ghost_batches=number)
    taught = digits(model, ghost_batches=number, **settings)
    student = replace(taught, loss=loss, teacher=Teacher(teacher, 2))
    alone, several = opened("alone"), opened("several", processes=ranks)
    one = [end.result for run in (teacher, student) for end in ends(alone, [run]) if isinstance(end, Done)]
    many = results(together(several, teacher, student))
    for a, b in zip(one, many, strict=True):
        assert_same((alone, a), (several, b))
        assert (a.environment["processes"], b.environment["processes"]) == (1, ranks)
        assert b.predicted.keys() == a.predicted.keys()
        assert ranks != number or numbers(b) == numbers(a)


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
def test_two_ranks_go_on_where_one_process_was_stopped(opened: Opened) -> None:
    here, whole = interrupted(digits(), opened("here", processes=2), 1), opened("whole")
    events = together(here, digits())
    assert [event.epoch for event in events if isinstance(event, Update)] == [2]
    assert_same((whole, train(digits(), whole)), (here, results(events)[0]))


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
def test_rank_that_is_killed_ends_the_run_and_no_other_and_it_goes_on(
    opened: Opened,
) -> None:
    """What is trained in two goes is, bit for bit, what one process trains in one."""
    here, whole = opened("here", processes=2), opened("whole")
    long, other = digits(epochs=120, ghost_batches=2), digits(epochs=1, ghost_batches=2)

    def kill(executor: LocalExecutor, event: Event) -> None:
        if isinstance(event, Update) and event.id == long.id and event.epoch == 1:
            (worker,) = executor.workers
            os.kill(max(children(worker.process.pid)), signal.SIGKILL)

    events = together(here, long, other, look=kill)
    (cause,) = causes(events)
    assert cause.startswith("process 2 of the run died (SIGKILL")
    assert [result.id for result in results(events)] == [other.id]
    (second,) = results(together(here, long))
    assert numbers(second) == numbers(train(long, whole))
    assert not multiprocessing.active_children()


UNBUILT = "normed_cnn 1.0: the model 'normed' cannot be built for 10 classes and 1 channels"


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("when", "cause"),
    [
        (
            "made",
            f"ChildProcessError: process 2 of the run failed: UserError: {UNBUILT}: RuntimeError: no room",
        ),
        (
            "used",
            (
                "process 2 of the run failed: RuntimeError: no room in epoch 1 of 2 "
                "(with code of normed_cnn 1.0)"
            ),
        ),
    ],
)
def test_rank_that_fails_is_the_failure_of_its_run_alone(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, when: str, cause: str
) -> None:
    """Before the first step all ranks learn of it and go on; later the next run gets new ones."""
    monkeypatch.setenv("SECOND_RANK_FAILS_WHEN", when)
    context = opened("here", processes=2)
    started: list[int] = []
    events = together(
        context,
        digits(),
        digits("digits_cnn"),
        look=lambda executor, _: started.append(len(executor.places)),
    )
    assert causes(events) == [cause]
    assert [result.run.student for result in results(events)] == ["digits_cnn"]
    assert started[-1] == (1 if when == "made" else 2)


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
def test_divergence_of_a_shared_run_is_reported_as_that_of_any(
    opened: Opened,
) -> None:
    (cause,) = causes(together(opened("here", processes=2), digits(lr=1e30)))
    assert cause.startswith("diverged at epoch 1, step 2")


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
@pytest.mark.usefixtures("_installed")
def test_task_on_a_node_shares_its_runs(opened: Opened) -> None:
    from kdbench.cluster.node import Assignment, JobWork, supervise

    context, run = opened("node", processes=2), digits(epochs=1)
    context.data.named("digits")
    work = JobWork(context.machine, (Assignment(Task(run), 2),), {}, 1, 10, 60)
    assert supervise(work, "1") == 1
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
    profile = Profile(name="x", slurm=JobRequest(gpus_per_node=8), work=WorkOfProfile(tasks_per_node=4))
    assert (profile.workers, profile.slurm_tasks, profile.several_tasks) == (2, 1, False)


def test_ranks_of_a_job_that_trains_one_run_at_a_time_are_its_tasks() -> None:
    one = Profile(name="x", slurm=JobRequest(gpus_per_node=4), work=WorkOfProfile(tasks_per_node=4))
    two = Profile(name="x", slurm=JobRequest(gpus_per_node=8), work=WorkOfProfile(tasks_per_node=4, nodes=2))
    assert [(some.workers, some.slurm_tasks, some.several_tasks) for some in (one, two)] == [(1, 4, True)] * 2
