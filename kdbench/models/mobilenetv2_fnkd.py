"""MobileNetV2 as FNKD has it, for small images.

Sources: Sandler et al., MobileNetV2 (1801.04381); as released for FNKD (aztc/FNKD at 099b6ca) in
`models/symbol_mobilenet_cifar.py`. It is Gluon's network with two halvings left, before the 64 channels and
before the 160: 32 pixels become 8. No convolution has a bias, nor has the classifier; the first block has no
expansion. Initialisation is MXNet's default, weights uniform in ±0.07, as for FNKD's ResNets.
"""

from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.resnet_v2 import uniform
from kdbench.models.unit import pool, unit

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 1),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""(expansion, channels, blocks, stride of the first block): t, c, n, s of the paper's Table 2."""


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by 1x1 without activation; add x if shapes agree."""

    def __init__(self, ins: int, outs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * ins
        expand = () if expansion == 1 else unit(nn.Conv2d(ins, inner, 1, bias=False), nn.ReLU6)
        self.branch = nn.Sequential(
            *expand,
            *unit(nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False), nn.ReLU6),
            *unit(nn.Conv2d(inner, outs, 1, bias=False), relu=None),
        )
        self.adds = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        y: Tensor = self.branch(x)
        return y.add_(x) if self.adds else y


def mobilenetv2_fnkd(classes: int, channels: int) -> nn.Module:
    """MobileNetV2 of FNKD: (N, channels, 32, 32) to K = classes, D = 1280; the classifier has no bias."""
    body: list[nn.Module] = [*unit(nn.Conv2d(channels, 32, 3, padding=1, bias=False), nn.ReLU6)]
    ins = 32
    for expansion, outs, blocks, stride in STAGES:
        for block in range(blocks):
            body.append(InvertedResidual(ins, outs, expansion, 1 if block else stride))
            ins = outs
    body += [*unit(nn.Conv2d(ins, 1280, 1, bias=False), nn.ReLU6), *pool()]
    return Network(nn.Sequential(*body), nn.Linear(1280, classes, bias=False)).apply(uniform)
