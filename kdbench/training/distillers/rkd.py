"""Relational distillation. Park et al., Relational Knowledge Distillation, CVPR 2019.

arXiv 1904.05068, section 3.2. As released in RepDistiller at b84f547, `distiller_zoo/RKD.py`, of the
features.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Setting, Weighted

LEAST = 1e-12
"""The smallest squared distance of two images, as released."""


class Relational(Weighted):
    """H(q, p) + β (w_d Huber(ψ_D, ψ^t_D) + w_a Huber(ψ_A, ψ^t_A)): distances of pairs, angles of triplets."""

    def __init__(self, setting: Setting, *, beta: float, w_d: float, w_a: float) -> None:
        super().__init__(setting, beta=beta)
        self.w_d, self.w_a = w_d, w_a

    def term(self, s: Output, t: Output) -> Tensor:
        """The weighted sum of both."""
        by_distance = smooth_l1_loss(distances(s.features), distances(t.features))
        by_angle = smooth_l1_loss(angles(s.features), angles(t.features))
        return self.w_d * by_distance + self.w_a * by_angle


def distances(f: Tensor) -> Tensor:
    """ψ_D of features (B, D): the distances of all pairs over their mean, (B, B); 0 on the diagonal."""
    squares = f.square().sum(dim=1)
    d = (squares[:, None] + squares - 2 * f @ f.T).clamp_min(LEAST).sqrt()
    d = d.masked_fill(torch.eye(len(f), dtype=torch.bool, device=f.device), 0)
    return d / (d.sum() / (d > 0).sum().clamp_min(1))  # the mean over what is not 0


def angles(f: Tensor) -> Tensor:
    """ψ_A of features (B, D): the cosine at j between i and k, (B, B, B) by j, i, k."""
    e = normalize(f[None] - f[:, None], dim=2)
    return torch.bmm(e, e.transpose(1, 2))
