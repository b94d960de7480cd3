"""Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019.

arXiv 1904.05835, section 2. As released in RepDistiller at b84f547, `distiller_zoo/VID.py`, of all maps but
the first; the variance of each of the teacher's channels is trained and starts at 5.
"""

from math import expm1, log

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Setting, Weighted
from kdbench.training.distillers.maps import to_one_size

VARIANCE = 5.0
LEAST = 1e-5
"""The variance at the start, and the smallest one."""


class VariationalInformation(Weighted):
    """H(q, p) + β Σ_l mean ½ ((f^t_l - μ_l(f_l))² / σ²_l + log σ²_l), μ and σ trained."""

    def __init__(self, setting: Setting, *, beta: float) -> None:
        super().__init__(setting, beta=beta)
        widths = zip(setting.student.maps[1:], setting.teacher.maps[1:], strict=False)
        self.stages = nn.ModuleList(Gaussian(f.shape[1], f_t.shape[1]) for f, f_t in widths)

    def term(self, s: Output, t: Output) -> Tensor:
        """Summed over the stages."""
        stages = zip(self.stages, s.maps[1:], t.maps[1:], strict=False)
        return torch.stack([stage(f, f_t) for stage, f, f_t in stages]).sum()


class Gaussian(nn.Module):
    """-log of a Gaussian of the teacher's map given the student's, without its constant; mean over all."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(ins, outs, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outs, outs, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outs, outs, 1, bias=False),
        )
        self.log_scale = nn.Parameter(torch.full((outs,), log(expm1(VARIANCE - LEAST))))

    def forward(self, f: Tensor, f_t: Tensor) -> Tensor:
        """Of maps (N, ins, H, W) and (N, outs, H', W')."""
        f, f_t = to_one_size(f, f_t)
        variance = (softplus(self.log_scale) + LEAST)[:, None, None]
        squares: Tensor = (self.mean(f) - f_t).square() / variance
        return 0.5 * (squares + variance.log()).mean()
