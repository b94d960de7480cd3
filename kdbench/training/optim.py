"""The optimizers and the learning rate.

The steps are torch.optim's functional forms: its classes import the compiler, 5 s in every worker. What an
optimizer remembers is one list of tensors, which a checkpoint keeps.

On a CPU the learning rate is a number. On a GPU it is a scalar in the device's memory, which a CUDA graph
reads anew in each step; the forms that read it there are torch's fused ones, with graphs and without them.
"""

from collections.abc import Sequence
from math import cos, pi
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from kdbench.spec.runs import Recipe

EPS = 1e-8
"""Of Adam, AdamW and RMSprop, unless the recipe says otherwise."""
RHO = 0.99
"""Of RMSprop's mean of squares, unless the recipe says otherwise."""


Rate = float | Tensor
"""A learning rate: a number, or a scalar on the parameters' device, float32 ()."""
Gradients = Sequence[Tensor | None] | None
"""One for each parameter, None where the loss does not reach it; or None: they are in the parameters."""


class Optimizer(Protocol):
    """What the loop needs: a step, and the tensors that a checkpoint keeps."""

    state: list[Tensor]

    def step(self, lr: Rate, gradients: Gradients = None) -> None:
        """Change the parameters by these gradients; by their own ones, where there are none."""


def make_optimizer(recipe: Recipe, parameters: Sequence[Tensor]) -> Optimizer:
    """The recipe's optimizer over these parameters."""
    if recipe.optimizer == "sgd":
        return SGD(recipe, parameters)
    if recipe.optimizer == "rmsprop":
        return RMSprop(recipe, parameters)
    return Adam(recipe, parameters)


class SGD:
    """Stochastic gradient descent with momentum and L2 decay: torch.optim.SGD. State: v of each parameter."""

    def __init__(self, recipe: Recipe, parameters: Sequence[Tensor]) -> None:
        self.parameters, self.recipe = list(parameters), recipe
        self.state = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, lr: Rate, gradients: Gradients = None) -> None:
        """v = μ v + g + λ w;  w = w - η v (Nesterov: w - η (g + λ w + μ v))."""
        buffers: list[Tensor | None] = [*self.state]
        sgd(
            self.parameters,
            _gradients(self.parameters, gradients),
            buffers,
            foreach=not isinstance(lr, Tensor),
            fused=isinstance(lr, Tensor),
            weight_decay=self.recipe.weight_decay,
            momentum=self.recipe.momentum,
            lr=lr,
            dampening=0,
            nesterov=self.recipe.nesterov,
            maximize=False,
        )


class Adam:
    """Adam with L2 decay, or AdamW, β = (0.9, 0.999): torch.optim.Adam and AdamW.

    State: the number of steps, a scalar of float64; then m of each parameter; then v of each.
    """

    def __init__(self, recipe: Recipe, parameters: Sequence[Tensor]) -> None:
        self.parameters, self.recipe = list(parameters), recipe
        steps = torch.zeros((), dtype=torch.float64, device=self.parameters[0].device)
        moments = [torch.zeros_like(parameter) for _ in range(2) for parameter in self.parameters]
        self.state = [steps, *moments]

    @torch.no_grad()
    def step(self, lr: Rate, gradients: Gradients = None) -> None:
        """m = β₁ m + (1 - β₁) g;  v = β₂ v + (1 - β₂) g²;  w = w - η m̂ / (√v̂ + ε).

        The decay is part of g (adam), or w is first multiplied by 1 - η λ (adamw).
        """
        count = len(self.parameters)
        # torch counts the steps of each parameter by itself, here all are alike: a copy for each
        steps = list(self.state[0].float().repeat(count).unbind())
        self.state[0] += 1
        function = adam if self.recipe.optimizer == "adam" else adamw
        function(
            self.parameters,
            _gradients(self.parameters, gradients),
            self.state[1 : count + 1],
            self.state[count + 1 :],
            [],
            steps,
            foreach=False,
            fused=isinstance(lr, Tensor),
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=lr,
            weight_decay=self.recipe.weight_decay,
            eps=self.recipe.eps or EPS,
            maximize=False,
        )


class RMSprop:
    """RMSprop with momentum and L2 decay: torch.optim.RMSprop, ε outside the root.

    With `eps_inside` as Keras had it until version 1: ε inside the root, which torch does not have.
    State: the mean of squares of each parameter; with momentum then v of each.
    """

    def __init__(self, recipe: Recipe, parameters: Sequence[Tensor]) -> None:
        self.parameters, self.recipe = list(parameters), recipe
        self.rho, self.eps = recipe.rho or RHO, recipe.eps or EPS
        kinds = 2 if recipe.momentum else 1
        self.state = [torch.zeros_like(parameter) for _ in range(kinds) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, lr: Rate, gradients: Gradients = None) -> None:
        """a = ρ a + (1 - ρ) g²;  v = μ v + g / (√a + ε), or √(a + ε);  w = w - η v."""
        slopes = _gradients(self.parameters, gradients)
        squares, moments = self.state[: len(slopes)], self.state[len(slopes) :]
        if isinstance(lr, Tensor) or self.recipe.eps_inside:
            self._step(lr, slopes, squares, moments)
            return
        rmsprop(
            self.parameters,
            slopes,
            squares,
            [],
            moments,
            [torch.zeros(()) for _ in self.parameters],  # steps, which torch counts and does not read here
            foreach=False,
            lr=lr,
            alpha=self.rho,
            eps=self.eps,
            weight_decay=self.recipe.weight_decay,
            momentum=self.recipe.momentum,
            centered=False,
        )

    def _step(self, lr: Rate, slopes: list[Tensor], squares: list[Tensor], moments: list[Tensor]) -> None:
        """What torch's form does not do: ε inside the root, or a rate in a tensor on any device."""
        if self.recipe.weight_decay:
            decay = self.recipe.weight_decay
            slopes = list(torch._foreach_add(slopes, self.parameters, alpha=decay))  # noqa: SLF001
        torch._foreach_mul_(squares, self.rho)
        torch._foreach_addcmul_(squares, slopes, slopes, value=1 - self.rho)
        if self.recipe.eps_inside:
            scale = torch._foreach_add(squares, self.eps)  # noqa: SLF001
            torch._foreach_sqrt_(scale)
        else:
            scale = torch._foreach_sqrt(squares)  # noqa: SLF001
            torch._foreach_add_(scale, self.eps)
        if not isinstance(lr, Tensor):
            torch._foreach_addcdiv_(self.parameters, slopes, scale, value=-lr)
            return
        steps = list(torch._foreach_div(slopes, scale))  # noqa: SLF001
        if moments:
            torch._foreach_mul_(moments, self.recipe.momentum)
            torch._foreach_add_(moments, steps)
            steps = moments
        torch._foreach_sub_(self.parameters, torch._foreach_mul(steps, lr))  # noqa: SLF001


@torch.no_grad()
def limit_norms(parameters: Sequence[Tensor], most: float) -> None:
    """Scale the weights into each unit down to a Euclidean norm of at most `most`: max-norm regularisation.

    w_i is what goes into unit i: a row of a linear layer's weights, a filter of a convolution's. Biases and
    batch norms have one number a unit and are left alone (Hinton et al., arXiv 1207.0580, Appendix A).
    """
    for weights in parameters:
        if weights.dim() > 1:
            norms = torch.linalg.vector_norm(weights, dim=tuple(range(1, weights.dim())), keepdim=True)
            weights.mul_((most / norms).clamp_(max=1.0))


def _gradients(parameters: Sequence[Tensor], given: Gradients) -> list[Tensor]:
    """The gradients; a parameter that the loss does not reach counts as one with slope 0."""
    found = [w.grad for w in parameters] if given is None else given
    return [torch.zeros_like(w) if g is None else g for w, g in zip(parameters, found, strict=True)]


def rate_on(device: torch.device, lr: float) -> Rate:
    """A learning rate where the optimizer reads it; nothing waits for the device."""
    return torch.full((), lr, device=device) if device.type == "cuda" else lr


def lr_at(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0, of an epoch, counted from 1, of so many steps.

    During the warm-up it rises linearly and reaches its full value at the last step. After it, cosine and
    linear have one value an epoch, as torchvision's reference script steps torch's CosineAnnealingLR and
    LinearLR (references/classification/train.py): the first epoch has all of the lr, and lr_end would be
    that of the epoch after the last one. Example: linear to 0 in 4 epochs is 1, 3/4, 1/2, 1/4 of the lr.
    """
    scale = recipe.batch_size / recipe.lr_batch if recipe.lr_batch else 1
    lr = recipe.lr * scale
    if epoch <= recipe.warmup_epochs:
        lr *= ((epoch - 1) * steps + step + 1) / (recipe.warmup_epochs * steps)
    elif recipe.schedule in ("cosine", "linear"):
        done = (epoch - 1 - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
        left = (1 + cos(pi * done)) / 2 if recipe.schedule == "cosine" else 1 - done
        return scale * (recipe.lr_end + (recipe.lr - recipe.lr_end) * left)
    return lr * recipe.gamma ** sum(epoch > milestone for milestone in recipe.milestones)
