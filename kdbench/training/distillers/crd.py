"""Contrastive distillation. Tian et al., Contrastive Representation Distillation, ICLR 2020.

arXiv 1910.10699, section 3.1; L is Eq. 18. As released in RepDistiller at b84f547, `crd/`, with negatives of
other classes.

A memory has an embedding of each training image by each network. A student's embedding is held against the
teacher's memory of the same image and of M images of other classes, and the teacher's against the student's:

    g, g^t    v = E f and v^t = E^t f^t, of norm 1: trained linear layers to `dim`
    h_ij      exp(v_i' m^t_j / T) / Z, Z set by the first batch so that the mean of h is 1 / N
    L(h)      - mean_i (log h_ii / (h_ii + M / N) + Σ_j log (M / N) / (h_ij + M / N)), j over the negatives
    memory    m_i = μ m_i + (1 - μ) v_i, of norm 1 again, after the step

All N scores of an image are one row of a matrix product: it takes a fraction of the time and of the memory
that gathering M rows of the bank for each image does. Of a batch in parts (ghost batches) each part is held
against the memory of before the step and draws negatives of its own; Z is the mean of what the parts find.
"""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Remembering, Setting, Step
from kdbench.training.losses import ce, divergence

LEAST = 1e-7
"""Is added to denominators, as released."""


class Contrastive(Remembering):
    """H(q, p) + β (L(h) + L(h^t))."""

    def __init__(
        self, setting: Setting, *, beta: float, dim: float, negatives: float, T: float, momentum: float
    ) -> None:
        super().__init__()
        self.beta, self.negatives, self.T, self.momentum = beta, int(negatives), T, momentum
        self.student = nn.Linear(setting.student.features.shape[1], int(dim))
        self.teacher = nn.Linear(setting.teacher.features.shape[1], int(dim))
        self.others = OtherClasses(setting.labels, setting.classes)
        self.Z: Tensor
        bound = sqrt(3 / int(dim))
        # (2, N, dim): of the student, of the teacher
        self.register_buffer("memory", torch.empty(2, len(setting.labels), int(dim)).uniform_(-bound, bound))
        self.register_buffer("Z", torch.full((2,), -1.0))

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """The cross-entropy and the weighted term; what the memory learns of the batch is noted."""
        drawn = self.others.draw(y, self.negatives, at.generator())
        columns = torch.cat([at.indices[:, None], drawn], dim=1)
        return ce(s, y) + self.beta * self.contrast(s.features, t.features, columns)

    def contrast(self, f: Tensor, f_t: Tensor, columns: Tensor) -> Tensor:
        """L(h) + L(h^t) of features (B, D) and (B, D'), each held against 1 + M images, its own first."""
        v, v_t = normalize(self.student(f)), normalize(self.teacher(f_t))
        bank, bank_t = self.memory
        scores = torch.stack([(v @ bank_t.T).gather(1, columns), (v_t @ bank.T).gather(1, columns)])
        h = (scores / self.T).exp()
        N = self.memory.shape[1]
        with torch.no_grad():
            self.Z.copy_(torch.where(self.Z < 0, N * h.mean(dim=(1, 2)), self.Z))
            own = self.memory[:, columns[:, 0]]
            moved = self.momentum * own + (1 - self.momentum) * torch.stack([v, v_t])
            self.note(columns[:, 0], normalize(moved, dim=2))
        return torch.stack([contrastive(each, N) for each in h / self.Z[:, None, None]]).sum()


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
