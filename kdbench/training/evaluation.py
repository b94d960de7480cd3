"""The accuracy of record: on every test image as it is, in float32."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdbench import catalog
from kdbench.data.packed import Dataset
from kdbench.data.views import plain_batches
from kdbench.models.output import Output
from kdbench.spec import Loss, Run
from kdbench.training.precision import arithmetic
from kdbench.training.world import World, statistics

BATCH = 500
"""Images at a time."""


@torch.no_grad()
def evaluate(run: Run, student: nn.Module, data: Dataset, world: World) -> tuple[float, float]:
    """The accuracy in percent and the mean cross-entropy on the test images."""
    student.eval()
    mean, std = statistics(run)
    size = run.recipe.test_size or len(data.test_labels)
    images, labels = data.test_images[:size], data.test_labels[:size]
    scores, right, loss = scoring(run.loss), [], []
    for x, y, _ in plain_batches(images, labels, batch_size=BATCH, mean=mean, std=std, device=world.device):
        with arithmetic("float32", world.device):
            logits = scores(student(x))
        right.append((logits.argmax(dim=1) == y).sum())
        loss.append(cross_entropy(logits, y, reduction="sum").double())
    return 100 * int(torch.stack(right).sum()) / size, float(torch.stack(loss).sum()) / size


def scoring(loss: Loss) -> Callable[[Output], Tensor]:
    """What is evaluated of an output: its logits, unless the loss names its own class scores."""
    code = catalog.find("losses", loss.name).scores
    return partial(catalog.load(code), **loss.params) if code else attrgetter("logits")
