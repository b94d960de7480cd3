"""Correlation congruence. Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019.

arXiv 1904.01802. As released in RepDistiller at b84f547, `distiller_zoo/CC.py`: not the paper's correlation
of section 3.2, but the products of the differences of images that follow each other in the batch. Both
networks' features pass a trained linear layer first.
"""

from torch import Tensor, nn

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Setting, Weighted


class CorrelationCongruence(Weighted):
    """H(q, p) + β mean_i Σ_d δ_i δ_i+1, δ = |E f - E^t f^t| of the trained embeddings E, E^t to `dim`."""

    def __init__(self, setting: Setting, *, beta: float, dim: float) -> None:
        super().__init__(setting, beta=beta)
        self.student = nn.Linear(setting.student.features.shape[1], int(dim))
        self.teacher = nn.Linear(setting.teacher.features.shape[1], int(dim))

    def term(self, s: Output, t: Output) -> Tensor:
        """0 of a batch of one image."""
        return congruence(self.student(s.features), self.teacher(t.features))


def congruence(e: Tensor, e_t: Tensor) -> Tensor:
    """The mean of Σ_d δ_i δ_i+1 of embeddings (B, D) over the B - 1 pairs."""
    d = (e - e_t).abs()
    return (d[:-1] * d[1:]).sum() / max(1, len(d) - 1)
