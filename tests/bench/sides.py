"""What the sides of ratios.py do: kdbench by its own functions, its opponents by their own files.

The usual way is reference_step.py, the best plain loop is plain_loop.py.

Each function makes a case ready and returns what is timed, which gives a number that both sides must agree
in: the first step's loss, the mean cross-entropy, the mean square of the views.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench.data.views import Batch, Epochs
from kdbench.models.output import Output
from kdbench.spec.events import Task
from kdbench.spec.runs import Run
from kdbench.training import checkpoint
from kdbench.training.bench import Prepared, bench_context, give_untrained_teacher
from kdbench.training.context import TrainingContext
from kdbench.training.evaluation import evaluate
from kdbench.training.images import evaluation_batches, evaluation_set, training_views
from kdbench.training.objective import make_objective
from kdbench.training.run import train_cohort
from kdbench.training.student_run import StudentRun
from kdbench.training.teacher_batches import TeacherBatches
from tests.bench import reference_distillers as distillers
from tests.bench import reference_step as reference
from tests.bench.plain_loop import Epoch, PlainLoop

Act = Callable[[], float]
VIEWED, TESTED = 2560, 512
"""Images of a pass over the views, and of an evaluation."""
DISTILLED = 4
"""Batches of a distiller."""
LR = 0.1

context_of = bench_context


def choose_algorithms(side: str, context: TrainingContext) -> None:
    """Deterministic ones on a CPU for kdbench, as `kdbench run` has them; for the others torch's default."""
    deterministic = side == "ours" and context.device.type == "cpu"
    torch.set_deterministic_debug_mode("error" if deterministic else "default")


def cut(run: Run) -> Run:
    """A run on a few images."""
    return replace(run, recipe=replace(run.recipe, train_size=VIEWED, test_size=TESTED))


def first_batch(run: Run, context: TrainingContext) -> tuple[Tensor, Tensor, Tensor]:
    """The first views of the run: both sides train on them."""
    return next(iter(training_views(run, context.data.named(run.dataset), context).epoch(1)))


def ours_views(runs: Sequence[Run], context: TrainingContext) -> Act:
    """An epoch of views."""
    run = cut(runs[0])
    views = training_views(run, context.data.named(run.dataset), context)
    return lambda: mean_square(x for x, *_ in views.epoch(1))


def usual_views(runs: Sequence[Run], context: TrainingContext) -> Act:
    """An epoch of the DataLoader."""
    data = context.data.named(runs[0].dataset)
    loader = reference.training_loader(runs[0], data.train_images[:VIEWED], data.train_labels[:VIEWED])
    return lambda: mean_square(x for x, _ in loader)


def ours_step(runs: Sequence[Run], context: TrainingContext) -> Act:
    """One batch, by a cohort of all the runs; the first one's loss."""
    return cohort_step(runs, context, [first_batch(runs[0], context)])


def cohort_step(
    runs: Sequence[Run], context: TrainingContext, batches: list[tuple[Tensor, Tensor, Tensor]]
) -> Act:
    """A pass over batches by the members of a cohort."""
    give_untrained_teacher(runs[0], context)
    student_runs = [StudentRun(Task(run), context, len(runs)) for run in runs]
    teacher_batches = TeacherBatches(runs, Prepared(batches), context)

    def act() -> float:
        for student_run in student_runs:
            student_run.begin(1)
        for number, batch in enumerate(teacher_batches.epoch(1)):
            for student_run in student_runs:
                student_run.step(number, len(teacher_batches), batch)
        return float(student_runs[0].losses[0])

    return act


def ours_cached(runs: Sequence[Run], context: TrainingContext) -> Act:
    """One batch whose teacher's logits are kept: from the second time on, they are read."""
    return ours_step(runs, keeping(context))


def keeping(context: TrainingContext) -> TrainingContext:
    """The same hold on the machine, with room for a teacher's logits."""
    local = replace(context.machine.local, logits_gib=1.0)
    return dataclasses.replace(context, machine=replace(context.machine, local=local))


def usual_step(runs: Sequence[Run], context: TrainingContext) -> Act:
    """One batch, by the first run alone."""
    run = runs[0]
    x, y, _ = first_batch(run, context)
    student, teacher, optimizer = networks(run, context)
    student.train()
    loss = reference.kd_loss(run)
    return lambda: reference.step(student, teacher, x, y, loss, optimizer)


usual_cached = usual_step


def networks(
    run: Run, context: TrainingContext
) -> tuple[torch.nn.Module, torch.nn.Module, torch.optim.Optimizer]:
    """A run's student and teacher with the weights that kdbench's have, and torch's optimizer."""
    give_untrained_teacher(run, context)
    teacher = context.teacher(run)
    if teacher is None:
        raise ValueError(f"{run.slug} has no teacher")
    student = reference.usual(context.network(run))
    return student, reference.usual(teacher).eval(), reference.sgd(run, student, LR)


class FirstBatches(Epochs):
    """The first batches of each epoch of views."""

    def __init__(self, views: Epochs) -> None:
        self.views, self.labels = views, views.labels

    def __len__(self) -> int:
        return DISTILLED

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """So many of the epoch's own order."""
        return islice(self.views.epoch(epoch), DISTILLED)


def ours_distil(runs: Sequence[Run], context: TrainingContext) -> Act:
    """A few batches of a distiller, data path and all; their mean loss."""
    run = runs[0]
    give_untrained_teacher(run, context)
    student_run = StudentRun(Task(run), context)
    views = FirstBatches(training_views(run, context.data.named(run.dataset), context))
    teacher_batches = TeacherBatches([run], views, context)

    def act() -> float:
        student_run.begin(1)
        for number, batch in enumerate(teacher_batches.epoch(1)):
            student_run.step(number, len(teacher_batches), batch)
        return student_run.mean_loss()

    return act


def usual_distil(runs: Sequence[Run], context: TrainingContext) -> Act:
    """As many batches of the DataLoader."""
    run, data = runs[0], context.data.named(runs[0].dataset)
    student, teacher, _ = networks(run, context)
    width, width_t = (network(torch.zeros(2, 3, 32, 32)).features.shape[1] for network in (student, teacher))
    memory = distillers.memory_of(run, (width, width_t), len(data.train_labels))
    trained = torch.nn.ModuleList([student, *([memory] if memory else [])])
    optimizer = reference.sgd(run, trained, run.recipe.lr)
    loader, loss = (
        distillers.loader(run, data.train_images, data.train_labels),
        distillers.loss_of(run, memory),
    )
    return lambda: distillers.train(student, teacher, islice(loader, DISTILLED), loss, optimizer)


def ours_evaluate(runs: Sequence[Run], context: TrainingContext) -> Act:
    """An evaluation."""
    run = cut(runs[0])
    data, student = context.data.named(run.dataset), context.network(run)
    return lambda: evaluate(run, student, data, context).loss


def usual_evaluate(runs: Sequence[Run], context: TrainingContext) -> Act:
    """An evaluation, loader and all."""
    run = runs[0]
    data, student = context.data.named(run.dataset), reference.usual(context.network(run))
    loader = reference.evaluation_loader(run, data.test_images[:TESTED], data.test_labels[:TESTED])
    return lambda: reference.evaluate(student, loader)[1]


def ours_epoch(runs: Sequence[Run], context: TrainingContext) -> Act:
    """Runs of one epoch as a cohort, from nothing to results; the first one's mean loss."""
    give_untrained_teacher(runs[0], context)

    def act() -> float:
        for run in runs:
            checkpoint.forget(context.machine.scratch / "checkpoints" / run.id)
        ends = {task.run.id: end for task, end in train_cohort([Task(run) for run in runs], context)}
        first = ends[runs[0].id]
        if isinstance(first, Exception):
            raise first
        return first.curve.train_loss[0]

    return act


def ours_kept_epoch(runs: Sequence[Run], context: TrainingContext) -> Act:
    """The same of a teacher's logits that are kept: from the second time on, they are read."""
    return ours_epoch(runs, keeping(context))


def usual_epoch(runs: Sequence[Run], context: TrainingContext) -> Act:
    """One run of one epoch."""
    run, data = runs[0], context.data.named(runs[0].dataset)
    train, test = run.recipe.train_size, run.recipe.test_size
    device = context.device.type
    loader = reference.training_loader(run, *some(data.train_images, data.train_labels, train), device)
    tests = reference.evaluation_loader(run, *some(data.test_images, data.test_labels, test), device)

    def act() -> float:
        student, teacher, optimizer = networks(run, context)
        loss = reference.train_epoch(student, teacher, loader, reference.kd_loss(run), optimizer)
        reference.evaluate(student, tests)
        return loss

    return act


def plain_loop(run: Run, context: TrainingContext) -> tuple[Callable[[], list[Epoch]], PlainLoop]:
    """A run by the plain loop: its training, from the first epoch to the last, and the loop."""
    objective, data = make_objective(run, context), context.data.named(run.dataset)
    views, images = training_views(run, data, context), evaluation_set(run, data, context)
    file = context.machine.scratch / "plain.pt"
    file.parent.mkdir(parents=True, exist_ok=True)

    def loss(s: Output, y: Tensor, t: Output | None) -> Tensor:
        return objective(s, y, t, None)  # type: ignore[no-any-return]

    loop = PlainLoop(context.network(run), context.teacher(run), loss, run.recipe)
    return lambda: loop.train(views, lambda: evaluation_batches(run, images, context), file), loop


def plain_epoch(runs: Sequence[Run], context: TrainingContext) -> Act:
    """One run of one epoch by the plain loop, from nothing; its mean loss."""
    give_untrained_teacher(runs[0], context)

    def act() -> float:
        train, _ = plain_loop(runs[0], context)
        return train()[0].train_loss

    return act


plain_kept_epoch = plain_epoch


def some(images: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The first images of a data set with their labels; 0: all."""
    return images[: size or None], labels[: size or None]


def mean_square(batches: Iterator[Tensor]) -> float:
    """Of all pixels; every batch is looked at, none is kept, and looking takes little."""
    sums = [(float(torch.dot(x.view(-1), x.view(-1))), x.numel()) for x in batches]
    return sum(total for total, _ in sums) / sum(n for _, n in sums)
