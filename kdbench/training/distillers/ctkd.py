"""A learned temperature. Li et al., Curriculum Temperature for Knowledge Distillation, AAAI 2023.

arXiv 2211.16231, its global version: one temperature for all images. As released in zhengli97/CTKD at
8ca3ce8, `train_student.py` and `helper/loops.py`; θ and its reversed gradient are read in the copy of Logit
Standardization (Sun et al., CVPR 2024, 2403.01427) at 6083e2d, `CTKD/models/temp_global.py`, as are the
standardized logits at b3ff633, `CTKD/distiller_zoo/KD.py`.
"""

from math import ceil, cos, pi

import torch
from torch import Tensor, nn

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Distiller, Setting, Step
from kdbench.training.losses import ce, divergence
from kdbench.training.losses_logits import z_score

START = 1.0
"""θ before the first step, as released: with T_0 = 1 and R = 20, T = 15.6."""


class CurriculumTemperature(Distiller):
    """(1 - α) H(q, p) + α m T² D_KL(p^t_T, p_T), T = T_0 + R σ(θ), θ trained against the student.

    θ gets -λ dL/dθ for its gradient: it makes the student's task harder, the more so the higher λ, which
    rises over the first E epochs: λ = (1 - cos(π min(epoch, E) / E)) / 2.
    """

    def __init__(
        self, _: Setting, *, alpha: float, multiplier: float, T_0: float, R: float, curriculum: float
    ) -> None:
        super().__init__()
        self.alpha, self.multiplier = alpha, multiplier
        self.T_0, self.R, self.curriculum = T_0, R, curriculum
        self.steady = ceil(curriculum)
        self.theta = nn.Parameter(torch.tensor(START))

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """The cross-entropy, and the divergence at the temperature of this step."""
        T = self.temperature(at.epoch)
        soft = T**2 * divergence(self.logits(t), self.logits(s), T)
        return (1 - self.alpha) * ce(s, y) + self.alpha * self.multiplier * soft

    def temperature(self, epoch: int) -> Tensor:
        """T, a scalar whose gradient by θ is -λ times the true one."""
        rise = (1 - cos(pi * min(epoch / self.curriculum, 1.0))) / 2
        fixed = self.theta.detach()
        reversed_theta = fixed + rise * (fixed - self.theta)  # of the value of θ: what is added is 0
        return self.T_0 + self.R * reversed_theta.sigmoid()

    def logits(self, of: Output) -> Tensor:
        """The logits that are compared, (B, K)."""
        return of.logits


class CurriculumTemperatureStandardized(CurriculumTemperature):
    """The same of z-scores of the logits; the cross-entropy is that of the logits as they are."""

    def logits(self, of: Output) -> Tensor:
        """z-scores over the classes, (B, K)."""
        return z_score(of.logits)
