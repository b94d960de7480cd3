"""The accuracy of record: on every test image as it is, or its centre at the recipe's size, in float32."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdbench import catalog
from kdbench.data.packed import Dataset
from kdbench.models.output import Output
from kdbench.spec import Loss, Run
from kdbench.training.images import test_batches
from kdbench.training.precision import arithmetic
from kdbench.training.world import World


@torch.no_grad()
def evaluate(run: Run, student: nn.Module, data: Dataset, world: World) -> tuple[float, float]:
    """The accuracy in percent and the mean cross-entropy on the test images."""
    student.eval()
    size = run.recipe.test_size or len(data.test_labels)
    scores, right, loss = scoring(run.loss), [], []
    for x, y, _ in test_batches(run, data, world):
        with arithmetic("float32", world.device):
            logits = scores(student(x))
        right.append((logits.argmax(dim=1) == y).sum())
        loss.append(cross_entropy(logits, y, reduction="sum").double())
    return 100 * int(torch.stack(right).sum()) / size, float(torch.stack(loss).sum()) / size


def scoring(loss: Loss) -> Callable[[Output], Tensor]:
    """What is evaluated of an output: its logits, unless the loss names its own class scores."""
    code = catalog.find("losses", loss.name).scores
    return partial(catalog.load(code), **loss.params) if code else attrgetter("logits")
