"""Decoupled distillation. Zhao et al., Decoupled Knowledge Distillation, CVPR 2022.

arXiv 2203.08679, section 3. As released in mdistiller at a08d46f, `mdistiller/distillers/DKD.py`: the
cross-entropy stays whole, and the weight of the rest rises linearly over the first epochs. With standardized
logits: Logit Standardization (Sun et al., CVPR 2024, 2403.01427) at f6e5aa5.
"""

from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Distiller, Setting, Step
from kdbench.training.losses import ce, divergence
from kdbench.training.losses_logits import z_score


class Decoupled(Distiller):
    """H(q, p) + w τ² (α D_KL(b^t_τ, b_τ) + β D_KL(p̂^t_τ, p̂_τ)), w = min(epoch / warmup, 1).

    b: the class against all others; p̂: the others among themselves.
    """

    def __init__(self, _: Setting, *, alpha: float, beta: float, tau: float, warmup: float) -> None:
        super().__init__()
        self.alpha, self.beta, self.tau, self.warmup = alpha, beta, tau, warmup
        self.steady = ceil(warmup)

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """The cross-entropy, and the two parts by their weights."""
        target, others = decoupled(self.logits(s), y, self.logits(t), self.tau)
        rise = min(at.epoch / self.warmup, 1.0)
        return ce(s, y) + rise * self.tau**2 * (self.alpha * target + self.beta * others)

    def logits(self, of: Output) -> Tensor:
        """The logits that are compared, (B, K)."""
        return of.logits


class DecoupledStandardized(Decoupled):
    """The same of z-scores of the logits; the cross-entropy is that of the logits as they are."""

    def logits(self, of: Output) -> Tensor:
        """z-scores over the classes, (B, K)."""
        return z_score(of.logits)


def decoupled(z: Tensor, y: Tensor, z_t: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """D_KL of the class against the others (TCKD), and of the others among themselves (NCKD)."""
    rest, rest_t = others(z, y), others(z_t.detach(), y)
    log_b, log_b_t = against(z / tau, y, rest / tau), against(z_t.detach() / tau, y, rest_t / tau)
    target = kl_div(log_b, log_b_t, reduction="batchmean", log_target=True)
    return target, divergence(rest_t, rest, tau)


def others(z: Tensor, y: Tensor) -> Tensor:
    """The logits of the other classes: (B, K) to (B, K - 1)."""
    index = torch.arange(z.shape[1] - 1, device=z.device).expand(len(z), -1)
    return z.gather(1, index + (index >= y[:, None]))


def against(z: Tensor, y: Tensor, rest: Tensor) -> Tensor:
    """log of the probability of the class, and of all others together: (B, 2)."""
    both = torch.cat([z.gather(1, y[:, None]), rest.logsumexp(dim=1, keepdim=True)], dim=1)
    return both.log_softmax(dim=1)
