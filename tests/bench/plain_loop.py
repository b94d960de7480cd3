"""The best plain loop, the second opponent of ratios.py: what a good engineer writes, and nothing around it.

It has kdbench's own networks, views and losses, so what is compared are the loops: a teacher asked without
gradients, channels last, whole batches of views from uint8 images, no number read back within an epoch,
torch.optim.SGD over all parameters at once, evaluation in inference mode, torch.save after each epoch. No
record, no resume, no other run beside it. It trains what kdbench trains: tests/bench/test_plain_loop.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdbench.data.views import Batch, Epochs
from kdbench.models.output import Output
from kdbench.spec.runs import Recipe
from kdbench.training.optim import lr_at

Loss = Callable[[Output, Tensor, Output | None], Tensor]
"""Of what the student makes of a batch, its classes and what the teacher makes of it."""


class Epoch(NamedTuple):
    """What an epoch gave."""

    top1: float
    """On the test images, in percent."""
    test_loss: float
    train_loss: float


class PlainLoop:
    """A student, its teacher and how it is trained.

    Args:
        student: channels last, on the device of the views.
        teacher: in evaluation; None: the baseline.
        loss: its mean over a batch.
        recipe: SGD with momentum, and the learning rate of each step.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module | None, loss: Loss, recipe: Recipe) -> None:
        self.student, self.teacher, self.loss, self.recipe = student, teacher, loss, recipe
        self.optimizer = torch.optim.SGD(
            student.parameters(),
            recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            foreach=True,
        )

    def train(self, views: Epochs, tests: Callable[[], Iterator[Batch]], file: Path) -> list[Epoch]:
        """All epochs of the recipe; after each one, evaluation on the tests and a checkpoint in the file."""
        curve: list[Epoch] = []
        for epoch in range(1, self.recipe.epochs + 1):
            train_loss = self.epoch(views, epoch)
            curve.append(Epoch(*self.evaluate(tests()), train_loss))
            state = {"model": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}
            torch.save({**state, "curve": curve}, file)
        return curve

    def epoch(self, views: Epochs, epoch: int) -> float:
        """One pass over the training images; the mean of their losses."""
        self.student.train()
        losses: list[Tensor] = []
        sizes: list[int] = []
        for number, (x, y, _) in enumerate(views.epoch(epoch)):
            self.optimizer.param_groups[0]["lr"] = lr_at(self.recipe, epoch, number, len(views))
            losses.append(self.step(x, y))
            sizes.append(len(y))
        total = torch.stack(losses).double().cpu() * torch.tensor(sizes)
        return float(total.sum() / sum(sizes))

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """One batch; its loss."""
        with torch.no_grad():
            taught = self.teacher(x) if self.teacher else None
        value = self.loss(self.student(x), y, taught)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return value.detach()

    @torch.inference_mode()
    def evaluate(self, tests: Iterator[Batch]) -> tuple[float, float]:
        """The accuracy in percent and the mean cross-entropy."""
        self.student.eval()
        right, losses, images = [], [], 0
        for x, y, _ in tests:
            logits = self.student(x).logits
            right.append((logits.argmax(dim=1) == y).sum())
            losses.append(cross_entropy(logits, y, reduction="sum").double())
            images += len(y)
        return 100 * int(torch.stack(right).sum()) / images, float(torch.stack(losses).sum()) / images
