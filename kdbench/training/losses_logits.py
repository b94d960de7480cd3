"""Losses on logits of the field's tables, each under its equation. Symbols as in losses.py.

Papers: Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (arXiv 1503.02531), section 2;
Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024 (arXiv 2403.01427). Code:
HobbitLong/RepDistiller at b84f547; Logit Standardization at f6e5aa5.
"""

from torch import Tensor

from kdbench.models.output import Output
from kdbench.training.losses import ce, divergence

LEAST = 1e-7
"""Is added to the std of logits, as released: logits that are all equal stay finite."""


def hinton_kd(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float) -> Tensor:
    """(1 - α) H(q, p) + α τ² D_KL(p^t_τ, p_τ): with τ² the gradients keep their size (Hinton, section 2)."""
    return (1 - alpha) * ce(s, y) + alpha * tau**2 * divergence(t.logits, s.logits, tau)


def kd_ls(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float, multiplier: float) -> Tensor:
    """(1 - α) H(q, p) + α m τ² D_KL(p^t_τ, p_τ) with z-scores for logits in D_KL; hard term: as they are.

    The released weights 0.1 and 9 are α = 0.9, m = 10.
    """
    soft = divergence(z_score(t.logits), z_score(s.logits), tau)
    return (1 - alpha) * ce(s, y) + alpha * multiplier * tau**2 * soft


def z_score(z: Tensor) -> Tensor:
    """(z - mean) / (std + 1e-7) over the classes of each image, (N, K); std with K - 1."""
    return (z - z.mean(dim=1, keepdim=True)) / (z.std(dim=1, keepdim=True) + LEAST)
