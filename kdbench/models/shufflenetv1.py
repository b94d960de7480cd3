"""ShuffleNetV1 of three groups, as CRD has it, for 32x32 images.

Sources: Zhang et al., ShuffleNet (1707.01083); as released for CRD (1910.10699) in RepDistiller's
`models/ShuffleNetv1.py` at b84f547. The stem is a 1x1 convolution that does not halve the image; there is
an activation after the 3x3 convolution too. PyTorch's default initialisation.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import channel_shuffle, relu

from kdbench.models.output import Network
from kdbench.models.unit import pool, unit

STAGES = ((4, 240), (8, 480), (4, 960))
"""(units, channels); the first unit of a stage halves the image."""
GROUPS = 3
STEM = 24
"""Channels of the stem, on which the next convolution has no groups."""


class GroupedUnit(nn.Module):
    """relu(branch(x) + x), or where the image is halved relu(branch(x) beside the pooled x)."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        inner = outs // 4
        self.groups = 1 if ins == STEM else GROUPS
        self.reduce = nn.Sequential(*unit(nn.Conv2d(ins, inner, 1, groups=self.groups, bias=False)))
        self.branch = nn.Sequential(
            *unit(nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)),
            *unit(nn.Conv2d(inner, outs, 1, groups=GROUPS, bias=False), relu=None),
        )
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H, W), or halved to (N, outs + ins, H / 2, W / 2)."""
        y: Tensor = self.branch(channel_shuffle(self.reduce(x), self.groups))
        joined = y.add_(x) if self.shortcut is None else torch.cat([y, self.shortcut(x)], dim=1)
        return relu(joined, inplace=True)


def shufflenetv1(classes: int, channels: int) -> nn.Module:
    """ShuffleNetV1: (N, channels, 32, 32) to K = classes, D = 960; four maps."""
    first = unit(nn.Conv2d(channels, STEM, 1, bias=False))
    ins = STEM
    stages = []
    for units, width in STAGES:
        parts = [GroupedUnit(ins, width - ins, 2)]
        parts += [GroupedUnit(width, width, 1) for _ in range(units - 1)]
        stages.append(nn.Sequential(*parts))
        ins = width
    return Network(nn.Sequential(*first, *stages, *pool()), nn.Linear(ins, classes), taps=(2, 3, 4, 5))
