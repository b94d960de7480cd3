"""MobileNetV2 of half the width, as CRD has it, for 32x32 images.

Sources: Sandler et al., MobileNetV2 (1801.04381); as released for CRD (1910.10699) in RepDistiller's
`models/mobilenetv2.py` at b84f547 (`mobile_half`, T = 6). It is neither the libraries' network nor Tf-KD's:
ReLU stands for ReLU6; the first block has its expansion, by a factor of 1; the stem halves the image and the
stages halve it three times more, so that 2x2 pixels are left. Convolutions have no biases and start normal
by fan-out, the classifier with a std of 0.01.
"""

from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.unit import normal_with_small_classifier, pool, unit

STAGES = (
    (1, 8, 1, 1),
    (6, 12, 2, 1),
    (6, 16, 3, 2),
    (6, 32, 4, 2),
    (6, 48, 3, 1),
    (6, 80, 3, 2),
    (6, 160, 1, 1),
)
"""(expansion, channels, blocks, stride of the first block): t, c / 2, n, s of the paper's Table 2."""
MAPPED = (1, 2, 4, 6)
"""The stages whose outputs are maps, beside the stem's."""


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by 1x1 without activation; add x if shapes agree."""

    def __init__(self, ins: int, outs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * ins
        self.branch = nn.Sequential(
            *unit(nn.Conv2d(ins, inner, 1, bias=False)),
            *unit(nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)),
            *unit(nn.Conv2d(inner, outs, 1, bias=False), relu=None),
        )
        self.adds = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        y: Tensor = self.branch(x)
        return y.add_(x) if self.adds else y


def mobilenetv2_crd(classes: int, channels: int) -> nn.Module:
    """MobileNetV2: (N, channels, 32, 32) to K = classes, D = 1280; five maps."""
    ins = 16
    first = unit(nn.Conv2d(channels, ins, 3, 2, padding=1, bias=False))
    stages = []
    for expansion, outs, blocks, stride in STAGES:
        parts = [InvertedResidual(ins, outs, expansion, stride)]
        parts += [InvertedResidual(outs, outs, expansion, 1) for _ in range(blocks - 1)]
        stages.append(nn.Sequential(*parts))
        ins = outs
    last = (*unit(nn.Conv2d(ins, 1280, 1, bias=False)), *pool())
    taps = (2, *(len(first) + stage for stage in MAPPED))
    network = Network(nn.Sequential(*first, *stages, *last), nn.Linear(1280, classes), taps)
    return network.apply(normal_with_small_classifier)
