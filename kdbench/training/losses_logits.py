"""Losses on logits of the field's tables, each under its equation. Symbols as in losses.py.

Papers: Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (arXiv 1503.02531), section 2;
Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024 (arXiv 2403.01427); Huang et al.,
Knowledge Distillation from A Stronger Teacher, NeurIPS 2022 (arXiv 2205.10536); Pereyra et al., Regularizing
Neural Networks by Penalizing Confident Output Distributions, ICLR workshop 2017 (arXiv 1701.06548). Code:
HobbitLong/RepDistiller at b84f547; Logit Standardization at f6e5aa5; DIST in hunto/image_classification_sota
at 6f7a70a.
"""

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import log_softmax, softmax

from kdbench.models.output import Output
from kdbench.training.losses import ce, divergence

LEAST = 1e-7
"""Is added to the std of logits, as released: logits that are all equal stay finite."""
SMALLEST = 1e-8
"""Is added to products of norms, as released for DIST."""


def hinton_kd(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float) -> Tensor:
    """(1 - α) H(q, p) + α τ² D_KL(p^t_τ, p_τ): with τ² the gradients keep their size (Hinton, section 2)."""
    return (1 - alpha) * ce(s, y) + alpha * tau**2 * divergence(t.logits, s.logits, tau)


def kd_weighted(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float, multiplier: float) -> Tensor:
    """(1 - α) H(q, p) + α m τ² D_KL(p^t_τ, p_τ): weights that do not share out one whole.

    The defaults of Logit Standardization's code for plain KD, 0.1 and 9 at τ = 2, are α = 0.9, m = 10.
    """
    return (1 - alpha) * ce(s, y) + alpha * multiplier * tau**2 * divergence(t.logits, s.logits, tau)


def kd_ls(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float, multiplier: float) -> Tensor:
    """(1 - α) H(q, p) + α m τ² D_KL(p^t_τ, p_τ) with z-scores for logits in D_KL; hard term: as they are.

    The released weights 0.1 and 9 are α = 0.9, m = 10.
    """
    soft = divergence(z_score(t.logits), z_score(s.logits), tau)
    return (1 - alpha) * ce(s, y) + alpha * multiplier * tau**2 * soft


def dist(s: Output, y: Tensor, t: Output, *, beta: float, gamma: float, tau: float) -> Tensor:
    """H(q, p) + τ² (β d(p_τ, p^t_τ) + γ d(p_τ', p^t_τ')), d = 1 - mean of the rows' correlations.

    DIST, section 3.3, Eqs. 7 to 10: relations of the classes of an image, and (') of the images of a class.
    With τ² as released, beside the paper; a batch of one image has no relations of images.
    """
    p, p_t = softmax(s.logits / tau, dim=1), softmax(t.logits.detach() / tau, dim=1)
    return ce(s, y) + tau**2 * (beta * uncorrelated(p, p_t) + gamma * uncorrelated(p.T, p_t.T))


def confidence_penalty(s: Output, y: Tensor, *, beta: float) -> Tensor:
    """H(q, p) - β H(p), H(p) = - Σ_k p(k) log p(k): confident outputs are penalized (Pereyra, section 3)."""
    log_p = log_softmax(s.logits, dim=1)
    return ce(s, y) + beta * (log_p.exp() * log_p).sum(dim=1).mean()


def uncorrelated(a: Tensor, b: Tensor) -> Tensor:
    """1 - the mean over rows of Pearson's correlation of a and b, (N, K)."""
    a, b = (each - each.mean(dim=1, keepdim=True) for each in (a, b))
    size: Tensor = vector_norm(a, dim=1) * vector_norm(b, dim=1)
    correlation = (a * b).sum(dim=1) / (size + SMALLEST)
    return 1 - correlation.mean()


def z_score(z: Tensor) -> Tensor:
    """(z - mean) / (std + 1e-7) over the classes of each image, (N, K); std with K - 1."""
    return (z - z.mean(dim=1, keepdim=True)) / (z.std(dim=1, keepdim=True) + LEAST)
