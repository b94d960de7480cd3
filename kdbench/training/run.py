"""The loop: one run from its first epoch, or its newest checkpoint, to its result.

On one thread of a 2-core machine the quickstart's runs take about a second each; what real rows attain,
on what and in how long, stands in the README.
"""

from collections.abc import Callable, Collection
from functools import partial
from operator import attrgetter
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdbench import catalog
from kdbench.data.packed import Dataset
from kdbench.data.random import torch_seed
from kdbench.data.views import Views, plain_batches
from kdbench.errors import DivergedError
from kdbench.models.output import Output
from kdbench.spec import RESULT_SCHEMA, Loss, Result, Run
from kdbench.training import checkpoint, memory
from kdbench.training.checkpoint import Progress
from kdbench.training.optim import Optimizer, lr_at, make_optimizer
from kdbench.training.world import World, basis_of, environment, statistics

Objective = Callable[[Output, Tensor, Tensor], Tensor]
"""Of a student's output, its images (N, C, H, W) and their classes (N,): the loss to go down."""
EVALUATION_BATCH = 500


def train(
    run: Run,
    world: World,
    *,
    keep: Collection[int | str] = (),
    watch: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Train one run to its end.

    Args:
        run: what to train.
        world: this process's hold on its machine.
        keep: epochs, or "best", whose weights others learn from; the last epoch's are always kept.
        watch: called after each epoch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        UserError: the data or the teacher's weights are missing or damaged.
    """
    memory.reset_peak(world.device)
    data = world.dataset(run.dataset)
    student = world.network(run)
    optimizer = make_optimizer(run.recipe, list(student.parameters()))
    folder = world.machine.scratch / "checkpoints" / run.id
    wanted: set[int | str] = {"best", run.recipe.epochs, *keep}
    basis = basis_of(run, world)
    progress = checkpoint.load_progress(folder, student, optimizer, basis, wanted)
    loss, views = objective(run, world), training_views(run, data, world)
    for epoch in range(progress.epoch + 1, run.recipe.epochs + 1):
        started = perf_counter()
        train_loss = train_epoch(run, epoch, student, loss, optimizer, views)
        trained = perf_counter()
        top1, test_loss = evaluate(run, student, data, world)
        times = (perf_counter() - started, trained - started)
        progress.add(top1, test_loss, train_loss, *times, peak_memory=memory.peak(world.device))
        keep_weights(folder, student, progress, wanted)
        checkpoint.save_progress(folder, progress, student, optimizer, basis)
        watch(progress)
    checkpoint.publish(folder, world.machine.scratch / "weights" / run.id, progress.weights)
    return result(run, world, progress)


def train_epoch(
    run: Run, epoch: int, student: nn.Module, loss: Objective, optimizer: Optimizer, views: Views
) -> float:
    """One pass over the training images.

    Returns:
        The mean loss.

    Raises:
        DivergedError: the loss of a step was NaN or infinite.
    """
    student.train()
    torch.manual_seed(torch_seed(run.seed, "dropout", epoch))
    losses, sizes = [], []
    for step, (x, y, _) in enumerate(views.epoch(epoch)):
        value = loss(student(x), x, y)
        student.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step(lr_at(run.recipe, epoch, step, len(views)))
        losses.append(value.detach())
        sizes.append(len(y))
    each = torch.stack(losses).double().cpu()
    if not each.isfinite().all():
        step = int((~each.isfinite()).nonzero()[0])
        raise DivergedError(f"diverged at epoch {epoch}, step {step + 1}: the loss is {each[step].item()}")
    return float((each * torch.tensor(sizes)).sum() / sum(sizes))


@torch.no_grad()
def evaluate(run: Run, student: nn.Module, data: Dataset, world: World) -> tuple[float, float]:
    """The accuracy in percent and the mean cross-entropy on the test images."""
    student.eval()
    mean, std = statistics(run)
    size = run.recipe.test_size or len(data.test_labels)
    images, labels = data.test_images[:size], data.test_labels[:size]
    scores, right, loss = scoring(run.loss), [], []
    for x, y, _ in plain_batches(
        images, labels, batch_size=EVALUATION_BATCH, mean=mean, std=std, device=world.device
    ):
        logits = scores(student(x))
        right.append((logits.argmax(dim=1) == y).sum())
        loss.append(cross_entropy(logits, y, reduction="sum").double())
    return 100 * int(torch.stack(right).sum()) / size, float(torch.stack(loss).sum()) / size


def objective(run: Run, world: World) -> Objective:
    """The run's loss with its parameters, its teacher and its A(x) in place.

    Raises:
        UserError: the teacher's weights are missing or damaged.
    """
    function = partial(catalog.load(catalog.find("losses", run.loss.name).code), **run.loss.params)
    teacher, near = world.teacher(run.teacher), world.neighbours(run)
    fixed = [] if near is None else [near]

    def of(student: Output, x: Tensor, y: Tensor) -> Tensor:
        if teacher is None:
            return function(student, y, *fixed)  # type: ignore[no-any-return]
        with torch.no_grad():
            taught = teacher(x)
        return function(student, y, taught, *fixed)  # type: ignore[no-any-return]

    return of


def scoring(loss: Loss) -> Callable[[Output], Tensor]:
    """What is evaluated of an output: its logits, unless the loss names its own class scores."""
    code = catalog.find("losses", loss.name).scores
    return partial(catalog.load(code), **loss.params) if code else attrgetter("logits")


def training_views(run: Run, data: Dataset, world: World) -> Views:
    """The run's training images as it sees them."""
    recipe = run.recipe
    mean, std = statistics(run)
    size = recipe.train_size or len(data.train_labels)
    return Views(
        data.train_images[:size],
        data.train_labels[:size],
        seed=run.seed,
        batch_size=recipe.batch_size,
        crop=recipe.crop,
        flip=recipe.flip,
        rotation=recipe.rotation,
        mean=mean,
        std=std,
        device=world.device,
    )


def keep_weights(folder: Path, student: nn.Module, progress: Progress, wanted: Collection[int | str]) -> None:
    """Write the weights that teach: of the epochs that are wanted, and of the best one so far."""
    now: list[int | str] = [
        progress.epoch,
        *(["best"] if progress.curve.best_epoch == progress.epoch else []),
    ]
    for name in now:
        if name not in wanted:
            continue
        progress.weights[str(name)] = checkpoint.save_weights(folder / "weights", name, student)


def result(run: Run, world: World, progress: Progress) -> Result:
    """The record of a finished run."""
    curve = progress.curve
    images = (run.recipe.train_size or len(world.dataset(run.dataset).train_labels)) * run.recipe.epochs
    return Result(
        schema=RESULT_SCHEMA,
        id=run.id,
        run=run,
        curve=curve,
        last=curve.at("last"),
        best=curve.at("best"),
        best_epoch=curve.best_epoch,
        seconds=round(sum(progress.seconds), 3),
        images_per_second=round(images / progress.training_seconds, 1),
        peak_memory=progress.peak_memory,
        weights=progress.weights,
        environment=environment(run, world),
    )
