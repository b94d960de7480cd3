"""The optimizers and the learning rate.

torch.optim is not used: making its first optimizer imports the compiler, 5 s in every worker. The tests
hold these against it, bit for bit (SGD) and to rounding (Adam).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from kdbench.spec.runs import Recipe


class Optimizer(Protocol):
    """What the loop needs: a step, and the tensors that a checkpoint keeps."""

    state: list[Tensor]

    def step(self, lr: float) -> None:
        """Change the parameters by their gradients."""


def make_optimizer(recipe: Recipe, parameters: Sequence[Tensor]) -> Optimizer:
    """The recipe's optimizer over these parameters."""
    return (SGD if recipe.optimizer == "sgd" else Adam)(recipe, parameters)


class SGD:
    """Stochastic gradient descent with momentum and L2 decay, as torch.optim.SGD computes it."""

    def __init__(self, recipe: Recipe, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.decay, self.momentum, self.nesterov = recipe.weight_decay, recipe.momentum, recipe.nesterov
        self.state = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """v = μ v + g + λ w;  w = w - η v (Nesterov: w - η (g + λ w + μ v))."""
        change = _gradients(self.parameters)
        if self.decay:
            change = list(torch._foreach_add(change, self.parameters, alpha=self.decay))  # noqa: SLF001
        if self.momentum:
            torch._foreach_mul_(self.state, self.momentum)
            torch._foreach_add_(self.state, change)
            ahead = torch._foreach_add(change, self.state, alpha=self.momentum)  # noqa: SLF001
            change = list(ahead) if self.nesterov else self.state
        torch._foreach_add_(self.parameters, change, alpha=-lr)


class Adam:
    """Adam with L2 decay, β = (0.9, 0.999), ε = 1e-8, as torch.optim.Adam computes it."""

    def __init__(self, recipe: Recipe, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.decay = recipe.weight_decay
        steps = torch.zeros((), dtype=torch.float64)
        moments = [torch.zeros_like(parameter) for _ in range(2) for parameter in self.parameters]
        self.state = [steps, *moments]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """m = β₁ m + (1 - β₁) g;  v = β₂ v + (1 - β₂) g²;  w = w - η m̂ / (√v̂ + ε)."""
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        gradients = _gradients(self.parameters)
        self.state[0] += 1
        steps, count = self.state[0].item(), len(self.parameters)
        for w, g, m, v in zip(
            self.parameters, gradients, self.state[1 : count + 1], self.state[count + 1 :], strict=True
        ):
            slope = g.add(w, alpha=self.decay) if self.decay else g
            m.lerp_(slope, 1 - beta1)
            v.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
            scale = v.div(1 - beta2**steps).sqrt_().add_(epsilon)
            w.addcdiv_(m, scale, value=-lr / (1 - beta1**steps))


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients; a parameter that the loss does not reach counts as one with slope 0."""
    return [torch.zeros_like(w) if w.grad is None else w.grad for w in parameters]


def lr_at(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0, of an epoch, counted from 1, of so many steps.

    During the warm-up it rises linearly and reaches its full value at the last step.
    """
    lr = recipe.lr * (recipe.batch_size / recipe.lr_batch if recipe.lr_batch else 1)
    if epoch <= recipe.warmup_epochs:
        lr *= ((epoch - 1) * steps + step + 1) / (recipe.warmup_epochs * steps)
    return lr * recipe.gamma ** sum(epoch > milestone for milestone in recipe.milestones)
