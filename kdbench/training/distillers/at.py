"""Attention transfer. Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017.

arXiv 1612.03928, section 3.1. As released in RepDistiller at b84f547, `distiller_zoo/AT.py`, of all maps but
the first. The paper's Eq. 2 sums norms of differences, β / 2 times; the code takes the mean of squares over
images and pixels.
"""

from torch import Tensor
from torch.nn.functional import normalize

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Weighted
from kdbench.training.distillers.maps import sum_over_stages


class AttentionTransfer(Weighted):
    """H(q, p) + β Σ_l mean (a(f_l) - a(f^t_l))², a = the mean of f² over channels, of norm 1."""

    def term(self, s: Output, t: Output) -> Tensor:
        """Summed over the stages."""
        return sum_over_stages(inattention, s, t)


def inattention(f: Tensor, f_t: Tensor) -> Tensor:
    """The mean square of the difference of two networks' attention, (N, C, H, W) and (N, C', H, W)."""
    return (attention(f) - attention(f_t)).square().mean()


def attention(f: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H W), each row of norm 1."""
    return normalize(f.square().mean(dim=1).flatten(1))
