"""Probabilistic knowledge transfer. Passalis & Tefas, Learning Deep Representations with PKT, ECCV 2018.

arXiv 1803.10837, section 3, with the cosine kernel. As released in RepDistiller at b84f547,
`distiller_zoo/PKT.py`: the mean over the B x B pairs, where the paper has the sum, and each image is a
neighbour of its own.
"""

from torch import Tensor
from torch.linalg import vector_norm

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Weighted

LEAST = 1e-7
"""Is added to norms and in the logarithm, as released."""


class ProbabilisticTransfer(Weighted):
    """H(q, p) + β / B² Σ_ij p^t_ij log (p^t_ij / p_ij), p_ij = (1 + cos(f_i, f_j)) / 2, rows of sum 1."""

    def term(self, s: Output, t: Output) -> Tensor:
        """The mean over the B x B pairs of images."""
        p, p_t = neighbourhood(s.features), neighbourhood(t.features)
        return (p_t * ((p_t + LEAST) / (p + LEAST)).log()).mean()


def neighbourhood(f: Tensor) -> Tensor:
    """p of features (B, D): (B, B), each row a distribution."""
    norms: Tensor = vector_norm(f, dim=1, keepdim=True) + LEAST
    near = ((f / norms) @ (f / norms).T + 1) / 2
    return near / near.sum(dim=1, keepdim=True)
