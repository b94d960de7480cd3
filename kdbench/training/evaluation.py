"""The accuracy of record: on every test image as it is, or its centre at the recipe's size, in float32."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdbench import catalog
from kdbench.data.packed import Dataset
from kdbench.models.output import Output
from kdbench.spec.runs import Loss, Run
from kdbench.training.context import TrainingContext
from kdbench.training.images import evaluation_batches, evaluation_set
from kdbench.training.precision import arithmetic


class Evaluation(NamedTuple):
    """What a student did on the test images, or on held-out ones."""

    top1: float
    """In percent."""
    loss: float
    """The mean cross-entropy."""
    predicted: Tensor
    """The class of each image, int64 (N,), on the CPU."""


@torch.no_grad()
def evaluate(
    run: Run, student: nn.Module, data: Dataset, context: TrainingContext, *, held_out: bool = False
) -> Evaluation:
    """Let a student classify every test image; the ranks of a group take the batches in turn.

    The host waits for a GPU at the end alone, after the last batch was launched. The losses of all batches
    are gathered before they are summed up: the same bits, however many ranks.

    Args:
        run: what is trained.
        student: its network.
        data: its data set.
        context: this process's hold on its machine.
        held_out: let it classify the training images that are held out instead.
    """
    student.eval()
    images = evaluation_set(run, data, context, held_out=held_out)
    scores, size = scoring(run.loss), len(images.classes)
    bias = added_to_logits(run, context)
    found = torch.zeros(size, dtype=torch.int64, device=context.device)
    places, classes, losses = [], [], []
    for x, y, index in evaluation_batches(run, images, context):
        if len(index) == 0:  # another rank's batch: its place in the sum below is 0 here
            losses.append(torch.zeros((), device=context.device))
            continue
        with arithmetic("float32", context.device):
            logits = scores(student(x))
            if bias is not None:
                logits = logits + bias
        places.append(index)
        classes.append(logits.argmax(dim=1))
        losses.append(cross_entropy(logits, y, reduction="sum"))
    if places:
        found[torch.cat(places)] = torch.cat(classes)
    # Each image's class is known to one rank and 0 to the others, and so is each batch's loss: their sums
    # over ranks are the values themselves.
    loss = torch.stack(losses).double()
    context.group.all_reduce([found, loss])
    predicted = found.cpu()
    right = int((predicted == images.classes).sum())
    return Evaluation(100 * right / size, float(loss.sum()) / size, predicted)


def true_classes(run: Run, data: Dataset) -> Tensor:
    """The classes of the images that a run is evaluated on, int64 (N,)."""
    return data.test_labels[: run.recipe.test_size or None]


def added_to_logits(run: Run, context: TrainingContext) -> Tensor | None:
    """What the recipe's `bias` adds to the logits of each class, (K,); None: nothing."""
    if not run.recipe.bias:
        return None
    added = torch.zeros(run.outputs)
    for of, value in run.recipe.bias:
        added[of] = value
    return added.to(context.device, non_blocking=True)


def scoring(loss: Loss) -> Callable[[Output], Tensor]:
    """What is evaluated of an output: its logits, unless the loss names its own class scores."""
    code = catalog.find("losses", loss.name).scores
    return partial(catalog.load(code), **loss.params) if code else attrgetter("logits")
