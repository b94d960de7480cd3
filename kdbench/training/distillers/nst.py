"""Neuron selectivity transfer. Huang & Wang, Like What You Like, 2017.

arXiv 1707.01219, section 4. As released in RepDistiller at b84f547, `distiller_zoo/NST.py`, of all maps but
the first: the mean over channels of both, where the paper has it, and over images.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Weighted
from kdbench.training.distillers.maps import sum_over_stages


class NeuronSelectivity(Weighted):
    """H(q, p) + β Σ_l MMD²(f_l, f^t_l), kernel k(a, b) = (a' b)², of channels (H W) of norm 1."""

    def term(self, s: Output, t: Output) -> Tensor:
        """Summed over the stages."""
        return sum_over_stages(discrepancy, s, t)


def discrepancy(f: Tensor, f_t: Tensor) -> Tensor:
    """The squared maximum mean discrepancy of maps (N, C, H, W) and (N, C', H, W), mean over N."""
    a, b = (normalize(each.flatten(2), dim=2) for each in (f, f_t))
    return kernel(b, b) + kernel(a, a) - 2 * kernel(a, b)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """The mean of (a_i' b_j)² over images and pairs of channels (N, C, H W)."""
    return torch.bmm(a, b.transpose(1, 2)).square().mean()
