"""DenseNet-BC for small images: a bare 3x3 stem (no norm, ReLU or pool) and three halvings.

Sources: Huang et al., Densely Connected Convolutional Networks (1608.06993); as released for Tf-KD
(1909.11723) in `model/densenet.py`.
"""

import torch
from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.unit import pool, unit


class DenseLayer(nn.Module):
    """The input, and behind it `growth` new channels made of it."""

    def __init__(self, ins: int, growth: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.BatchNorm2d(ins),
            nn.ReLU(inplace=True),
            *unit(nn.Conv2d(ins, 4 * growth, 1, bias=False)),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, ins + growth, H, W)."""
        return torch.cat([x, self.layer(x)], dim=1)


def densenet121(classes: int, channels: int) -> nn.Module:
    """DenseNet121: (N, channels, 32, 32) to K = classes, D = 1024. PyTorch's default initialisation."""
    return _densenet((6, 12, 24, 16), 32, classes, channels)


def _densenet(depths: tuple[int, ...], growth: int, classes: int, channels: int) -> nn.Module:
    """Dense blocks of `depths` layers; a transition before each but the first halves channels and image."""
    width = 2 * growth
    body: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    for block, depth in enumerate(depths):
        if block:
            body.append(_transition(width))
            width //= 2
        body.append(nn.Sequential(*(DenseLayer(width + i * growth, growth) for i in range(depth))))
        width += depth * growth
    body += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), *pool()]
    return Network(nn.Sequential(*body), nn.Linear(width, classes))


def _transition(width: int) -> nn.Sequential:
    # No ReLU after the norm, unlike torchvision's: the released code has none. Parameters do not show it.
    return nn.Sequential(
        nn.BatchNorm2d(width), nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2, stride=2)
    )
