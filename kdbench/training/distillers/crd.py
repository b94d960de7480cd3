"""Contrastive distillation. Tian et al., Contrastive Representation Distillation, ICLR 2020.

arXiv 1910.10699, section 3.1; L is Eq. 18. As released in RepDistiller at b84f547, `crd/`, with negatives of
other classes.

A memory has an embedding of each training image by each network. A student's embedding is held against the
teacher's memory of the same image and of M images of other classes, and the teacher's against the student's:

    g, g^t    v = E f and v^t = E^t f^t, of norm 1: trained linear layers to `dim`
    h_ij      exp(v_i' m^t_j / T) / Z, Z set by the first batch so that the mean of h is 1 / N
    L(h)      - mean_i (log h_ii / (h_ii + M / N) + Σ_j log (M / N) / (h_ij + M / N)), j over the negatives
    memory    m_i = μ m_i + (1 - μ) v_i, of norm 1 again, after the scores

All N scores of an image are one row of a matrix product: it takes a fraction of the time and of the memory
that gathering M rows of the bank for each image does. The bank is there once: `Scores`.
"""

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Distiller, Setting, Step
from kdbench.training.losses import ce, divergence

LEAST = 1e-7
"""Is added to denominators, as released."""


class Contrastive(Distiller):
    """H(q, p) + β (L(h) + L(h^t))."""

    def __init__(
        self, setting: Setting, *, beta: float, dim: float, negatives: float, T: float, momentum: float
    ) -> None:
        super().__init__()
        self.beta, self.negatives, self.T, self.momentum = beta, int(negatives), T, momentum
        self.student = nn.Linear(setting.student.features.shape[1], int(dim))
        self.teacher = nn.Linear(setting.teacher.features.shape[1], int(dim))
        self.others = OtherClasses(setting.labels, setting.classes)
        self.memory: Tensor
        self.Z: Tensor
        bound = sqrt(3 / int(dim))
        # (2, N, dim): of the student, of the teacher
        self.register_buffer("memory", torch.empty(2, len(setting.labels), int(dim)).uniform_(-bound, bound))
        self.register_buffer("Z", torch.full((2,), -1.0))

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """The cross-entropy and the weighted term; the memory learns the batch."""
        drawn = self.others.draw(y, self.negatives, at.generator())
        columns = torch.cat([at.indices[:, None], drawn], dim=1)
        return ce(s, y) + self.beta * self.contrast(s.features, t.features, columns)

    def contrast(self, f: Tensor, f_t: Tensor, columns: Tensor) -> Tensor:
        """L(h) + L(h^t) of features (B, D) and (B, D'), each held against 1 + M images, its own first."""
        v, v_t = normalize(self.student(f)), normalize(self.teacher(f_t))
        (bank, bank_t), images = self.memory, columns[:, 0]
        against_t, against = Scores.apply(v, bank_t, images), Scores.apply(v_t, bank, images)
        scores = torch.stack([against_t.gather(1, columns), against.gather(1, columns)])
        h = (scores / self.T).exp()
        N = self.memory.shape[1]
        with torch.no_grad():
            self.Z.copy_(torch.where(self.Z < 0, N * h.mean(dim=(1, 2)), self.Z))
            moved = self.momentum * self.memory[:, images] + (1 - self.momentum) * torch.stack([v, v_t])
            self.memory.index_copy_(1, images, normalize(moved, dim=2))
        return torch.stack([contrastive(each, N) for each in h / self.Z[:, None, None]]).sum()


class Scores(torch.autograd.Function):
    """v M', (B, N), of embeddings v (B, dim) and a bank M (N, dim) whose rows of the batch change after it.

    The gradient of v is g M with M as it was. To keep that takes no second bank: only the rows of the batch's
    images (B,) differ by then. The backward pass puts them back, multiplies, and leaves the new ones again.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, bank: Tensor, images: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        """The scores."""
        ctx.bank, ctx.images, ctx.before = bank, images, bank.index_select(0, images)
        return v @ bank.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """The gradient of v, (B, dim), of one of the scores, (B, N)."""
        after = ctx.bank.index_select(0, ctx.images)
        ctx.bank.index_copy_(0, ctx.images, ctx.before)
        gradient = slope @ ctx.bank
        ctx.bank.index_copy_(0, ctx.images, after)
        return gradient, None, None


class ContrastiveAndKD(Contrastive):
    """H(q, p) + α τ² D_KL(p^t_τ, p_τ) + β (L(h) + L(h^t))."""

    def __init__(self, setting: Setting, *, alpha: float, tau: float, **contrastive: float) -> None:
        super().__init__(setting, **contrastive)
        self.alpha, self.tau = alpha, tau

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """Both terms."""
        soft = self.tau**2 * divergence(t.logits, s.logits, self.tau)
        return super().forward(s, y, t, at) + self.alpha * soft


class OtherClasses:
    """The training images of other classes than an image's own.

    Args:
        labels: the class of each training image, (N,).
        classes: K.
    """

    def __init__(self, labels: Tensor, classes: int) -> None:
        self.order = labels.argsort(stable=True)  # by class
        counts = labels.bincount(minlength=classes)
        self.end = counts.cumsum(0)
        self.rest = (len(labels) - counts).tolist()

    def draw(self, y: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """n of them for each of the classes y (B,), without replacement: (B, n).

        Behind the last image of a class, going round, come those of all other classes. Where there are
        fewer than n, images come twice. On a GPU the host waits for the classes once, unless all classes
        have as many images, as CIFAR's have.
        """
        alike = len(set(self.rest)) == 1  # then nothing on the host depends on the classes, which a GPU has
        rests = self.rest[:1] * len(y) if alike else [self.rest[label] for label in y.tolist()]
        picked = torch.stack([pick(rest, n, generator) for rest in rests])
        if y.is_cuda:
            picked = picked.pin_memory().to(y.device, non_blocking=True)
        self.order, self.end = self.order.to(y.device), self.end.to(y.device)  # copied once
        return self.order[(self.end[y][:, None] + picked) % len(self.order)]


def pick(rest: int, n: int, generator: torch.Generator) -> Tensor:
    """n of the numbers below rest, (n,) of int64; each at most once where there are enough."""
    if n <= rest:
        return torch.randperm(rest, generator=generator)[:n]
    return torch.randint(rest, (n,), generator=generator)


def contrastive(h: Tensor, N: int) -> Tensor:
    """L of (B, 1 + M), the positive first."""
    M = h.shape[1] - 1
    positive, negative = h[:, 0], h[:, 1:]
    log_d1 = (positive / (positive + M / N + LEAST)).log()
    log_d0 = (M / N / (negative + M / N + LEAST)).log()
    return -(log_d1.sum() + log_d0.sum()) / len(h)
