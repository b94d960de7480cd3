"""The images of a run as its networks see them, for training and for the test."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from kdbench.data.packed import Dataset
from kdbench.data.views import Batch, Epochs, Views, plain_batches
from kdbench.spec import Recipe, Run
from kdbench.training.world import World, statistics

if TYPE_CHECKING:
    from kdbench.data.boxes import Framing

TEST_PIXELS = 500 * 32 * 32
"""Of a batch of test images: what a network holds of a batch grows with its pixels."""
MOST_WORKERS = 16


def training_views(run: Run, data: Dataset, world: World) -> Epochs:
    """The run's training images: at a size, or as they are, shifted, flipped and turned."""
    recipe = run.recipe
    images, labels, rest = _chosen(run, data, world, "train", recipe.train_size)
    rest |= {"seed": run.seed, "batch_size": recipe.batch_size}
    if recipe.size:
        from kdbench.data.crops import Crops

        return Crops(images, labels, framing(recipe), workers=workers(world), **rest)
    return Views(images, labels, crop=recipe.crop, flip=recipe.flip, rotation=recipe.rotation, **rest)


def test_batches(run: Run, data: Dataset, world: World) -> Iterator[Batch]:
    """The run's test images, at the centre where the recipe has a size, else as they are."""
    recipe = run.recipe
    images, labels, rest = _chosen(run, data, world, "test", recipe.test_size)
    side = recipe.size or images.shape[-1]
    rest |= {"batch_size": min(500, max(1, TEST_PIXELS // side**2))}
    if recipe.size:
        from kdbench.data.crops import centre_batches

        return centre_batches(images, labels, framing(recipe), workers=workers(world), **rest)
    return plain_batches(images, labels, **rest)


def framing(recipe: Recipe) -> "Framing":
    """How a recipe brings images to its size."""
    from kdbench.data.boxes import Framing

    return Framing(
        size=recipe.size,
        resize=recipe.resize or recipe.size,
        resized_crop=recipe.resized_crop,
        flip=recipe.flip,
    )


def workers(world: World) -> int:
    """Threads that make the views of one run: as benchmark.toml says; else its share of the cores."""
    machine = world.machine
    if machine.data.workers is not None:
        return machine.data.workers
    if world.device.type == "cpu":
        return machine.local.threads
    share = len(os.sched_getaffinity(0)) // (machine.local.slots or 1)
    return max(machine.local.threads, min(share, MOST_WORKERS))


def _chosen(
    run: Run, data: Dataset, world: World, split: str, size: int
) -> tuple[Any, Tensor, dict[str, Any]]:
    """The first so many images of a split (0: all), their labels, how they are normalised, and where."""
    mean, std = statistics(run)
    labels = cast("Tensor", getattr(data, f"{split}_labels"))
    size = size or len(labels)
    images = getattr(data, f"{split}_images")[:size]
    return images, labels[:size], {"mean": mean, "std": std, "device": world.device}
