"""The images of a run as its networks see them, for training and for the test."""

import os
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kdbench import catalog
from kdbench.data import random
from kdbench.data.augment import MAGNITUDE, Augmentation
from kdbench.data.generated import is_generated
from kdbench.data.mixing import with_partner
from kdbench.data.packed import Dataset
from kdbench.data.views import (
    Batch,
    Batching,
    Epochs,
    Normalise,
    PaddedImages,
    Places,
    Values,
    Views,
    plain_batches,
)
from kdbench.errors import UserError
from kdbench.spec.runs import Recipe, Run
from kdbench.training.context import TrainingContext
from kdbench.training.graphs import Graphed, uses_graphs
from kdbench.training.kept import EvaluationSet

if TYPE_CHECKING:
    from kdbench.data.boxes import Framing


TEST_PIXELS = 5_000_000
"""Of a batch of test images: what a network holds of a batch grows with its pixels."""
MOST_TESTED = {"cpu": 64, "cuda": 500}
"""Test images of a batch at most. On a CPU core it is 0.85 of the time that 500 take, for ResNet18."""
MOST_WORKERS = 16


def training_views(run: Run, data: Dataset, context: TrainingContext) -> Epochs:
    """This process's training images of the run: at a size, or as they are, shifted, flipped and turned.

    Before each share of a batch that is to be mixed, a rank gets the image that its first one is mixed with.
    """
    # Three forms of data: values (float32), images that are read at a size, and small images, which lie
    # padded on the device (`PaddedImages`)
    recipe = run.recipe
    place = trained_on(run, data)
    images, labels = data.train_images, data.train_labels[place]
    own = context.group.images_of(recipe.ghost_batches)
    share: Places = with_partner(own) if recipe.mixes and context.group.size > 1 else own
    batching = Batching(recipe.batch_size, context.device, share)
    if getattr(images, "dtype", None) == torch.float32:  # values are standardised where they are generated
        return Values(images[place], labels, batching, run.seed)
    normalise = _normalise(*statistics(run), context.device)
    if recipe.size:
        from kdbench.data.crops import Crops

        return Crops(
            images[place],
            labels,
            batching,
            normalise,
            framing(recipe),
            seed=run.seed,
            workers=workers(context),
            augmentation=augmentation(run),
        )
    views = Views(
        _padded(run, data, place, context),
        labels,
        batching,
        normalise,
        seed=run.seed,
        flip=recipe.flip,
        rotation=recipe.rotation,
        augmentation=augmentation(run),
    )
    if uses_graphs(context):
        views.look = Graphed(views.look, (), f"{run.slug}: the views of a batch", copy=True)
    return views


def augmentation(run: Run) -> Augmentation | None:
    """What a run's recipe does to an image after crop, flip and rotation; None: nothing."""
    recipe = run.recipe
    if not (recipe.randaugment or recipe.random_erasing):
        return None
    magnitude = recipe.randaugment_magnitude or MAGNITUDE
    return Augmentation(run.seed, recipe.randaugment, magnitude, recipe.random_erasing)


def _padded(run: Run, data: Dataset, place: "Tensor | slice", context: TrainingContext) -> PaddedImages:
    """A run's training images, padded; those of the run before where they are the same."""
    recipe = run.recipe
    # what decides which images they are, and how they are padded: runs that agree in it share them
    chosen = (
        recipe.train_size,
        recipe.subset and (recipe.subset, run.seed),
        recipe.transfer_classes,
        (recipe.validation_size, recipe.validation_seed),
    )
    key = (run.dataset, data.content, chosen, recipe.crop)
    return context.kept.padded(
        key, lambda: PaddedImages(data.train_images[place], recipe.crop, context.device)
    )


def training_labels(run: Run, data: Dataset) -> Tensor:
    """The classes of the run's training images, int64 (N,), in the order that the indices of views count."""
    return data.train_labels[trained_on(run, data)]


def trained_on(run: Run, data: Dataset) -> "Tensor | slice":
    """Which of the data set's training images a run is trained on, as an index into them."""
    chosen = chosen_images(run, data.train_labels)
    return slice(run.recipe.train_size or None) if chosen is None else chosen


def statistics(run: Run) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std that normalise the run's images, per channel, of values from 0 to 1."""
    return catalog.statistics(run.dataset, run.recipe.normalize, run.recipe.normalize_std)


@cache
def _normalise(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Normalise:
    """One for all epochs and runs: its table takes longer to make than a tiny network's evaluation."""
    return Normalise(mean, std, device)


def evaluation_set(
    run: Run, data: Dataset, context: TrainingContext, *, held_out: bool = False
) -> EvaluationSet:
    """The run's test images, or its held-out training images: chosen, and moved to the device, once.

    At a size they are read from the disk batch by batch, and only chosen here.
    """
    recipe = run.recipe
    chosen: tuple[object, ...] = ("test", recipe.test_size)
    if held_out:
        chosen = (recipe.train_size, recipe.validation_size, recipe.validation_seed)
    seed = run.seed if is_generated(run.dataset) else 0

    def make() -> EvaluationSet:
        if held_out:
            index = validation_images(run, len(data.train_labels))
            images, classes = data.train_images[index], data.train_labels[index]
        else:
            first = slice(recipe.test_size or None)
            images, classes = data.test_images[first], data.test_labels[first]
        if recipe.size:
            return EvaluationSet(images, classes, classes)
        return EvaluationSet(images.to(context.device), classes.to(context.device), classes)

    key = (run.dataset, seed, data.content, chosen, bool(recipe.size))
    return context.kept.evaluation_set(key, make)


def evaluation_batches(run: Run, of: EvaluationSet, context: TrainingContext) -> Iterator[Batch]:
    """These images, at the centre where the recipe has a size, else as they are."""
    recipe = run.recipe
    normalise = _normalise(*statistics(run), context.device)
    most = catalog.find("models", run.student).test_batch
    size = most if context.device.type == "cpu" else 0
    view = framing(recipe) if recipe.size else None
    return batches_of(of.images, of.labels, normalise, view, context, batch_size=size)


def batches_of(
    images: Any,  # noqa: ANN401 - Dataset's
    labels: Tensor,
    normalise: Normalise,
    framing: "Framing | None",
    context: TrainingContext,
    *,
    batch_size: int = 0,
) -> Iterator[Batch]:
    """Every image once, in the order of the data set: its centre, or as it is (None).

    As many at a time as batch_size says (0: as there is room for).
    """
    most = batch_size or _room(framing.size if framing else images.shape[-1], context)
    batching = Batching(most, context.device, context.group.batches_in_turn())
    if framing is None:
        return plain_batches(images, labels, batching, normalise)
    from kdbench.data.crops import centre_batches

    return centre_batches(images, labels, batching, normalise, framing, workers=workers(context))


def _room(side: int, context: TrainingContext) -> int:
    """Test images of a batch."""
    return min(MOST_TESTED[context.device.type], max(1, TEST_PIXELS // side**2))


def framing(recipe: Recipe) -> "Framing":
    """How a recipe brings images to its size."""
    from kdbench.data.boxes import Framing

    return Framing(
        size=recipe.size,
        resize=recipe.resize or recipe.size,
        resized_crop=recipe.resized_crop,
        flip=recipe.flip,
    )


def workers(context: TrainingContext) -> int:
    """Threads that make the views of one run: as benchmark.toml says; else its share of the cores."""
    machine = context.machine
    if machine.data.workers is not None:
        return machine.data.workers
    if context.device.type == "cpu":
        return machine.local.threads
    # on a GPU the CPU has nothing else to do; workers beside each other divide the cores
    share = len(os.sched_getaffinity(0)) // (machine.local.workers or 1)
    return max(machine.local.threads, min(share, MOST_WORKERS))


def chosen_images(run: Run, labels: Tensor) -> Tensor | None:
    """Which of the training images a run is trained on, int64 (N,), rising; None: all, or the first so many.

    A subset is a function of the seed alone: a teacher and a student of one seed are trained on the same
    images. With `transfer_classes` it is the images of these classes: of the labels 5 0 4 1 4 and the classes
    [4, 5] the images 0 2 4. Those that are held out are not among them.

    Raises:
        UserError: no image is of these classes.
    """
    recipe, there = run.recipe, len(labels)
    if not (recipe.transfer_classes or recipe.subset or recipe.validation_size):
        return None
    n = min(recipe.train_size or there, there)
    order = random.bits(run.seed, "subset", 0, n).argsort(kind="stable") if recipe.subset else np.arange(n)
    left = order[~np.isin(order, validation_images(run, there).numpy())]
    if recipe.transfer_classes:
        left = left[np.isin(labels.cpu().numpy()[left], recipe.transfer_classes)]
        if not len(left):
            raise UserError(
                f"{run.slug}: none of its {n} training images is of the transfer_classes "
                f"{list(recipe.transfer_classes)}; raise train_size"
            )
    return torch.from_numpy(left[: recipe.images(there)]).sort().values


def validation_images(run: Run, there: int) -> Tensor:
    """Which of the data set's training images are held out, int64 (N,), rising.

    Drawn from the first `train_size`, whatever their classes, by the recipe's own seed.
    """
    recipe = run.recipe
    bits = random.bits(recipe.validation_seed, "validation", 0, min(recipe.train_size or there, there))
    return torch.from_numpy(bits.argsort(kind="stable")[: recipe.held_out(there)]).sort().values
