"""MobileNetV2 as Tf-KD has it, for small images.

Sources: Sandler et al., MobileNetV2 (1801.04381); as released for Tf-KD (1909.11723) in
`model/mobilenetv2.py`. It is not the libraries' network: the stem is a 1x1 convolution with padding 1, which
puts a frame around the image (32 to 34) and does not halve it; the stage of 160 channels does not halve it
either; the first block has its expansion, by a factor of 1; convolutions have biases; no dropout.
"""

from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.unit import pool, unit

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 1),
    (6, 320, 1, 1),
)
"""(expansion, channels, blocks, stride of the first block): t, c, n, s of the paper's Table 2."""


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by 1x1 without activation; add x if shapes agree."""

    def __init__(
        self,
        ins: int,
        outs: int,
        expansion: int,
        stride: int,
        relu: type[nn.ReLU | nn.ReLU6] = nn.ReLU6,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        inner = expansion * ins
        self.branch = nn.Sequential(
            *unit(nn.Conv2d(ins, inner, 1, bias=bias), relu),
            *unit(nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=bias), relu),
            *unit(nn.Conv2d(inner, outs, 1, bias=bias), relu=None),
        )
        self.adds = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        y: Tensor = self.branch(x)
        return y.add_(x) if self.adds else y


def mobilenetv2(classes: int, channels: int) -> nn.Module:
    """MobileNetV2: (N, channels, 32, 32) to K = classes, D = 1280. PyTorch's default initialisation."""
    body: list[nn.Module] = [*unit(nn.Conv2d(channels, 32, 1, padding=1), nn.ReLU6)]
    ins = 32
    for expansion, outs, blocks, stride in STAGES:
        for block in range(blocks):
            body.append(InvertedResidual(ins, outs, expansion, 1 if block else stride))
            ins = outs
    body += [*unit(nn.Conv2d(ins, 1280, 1), nn.ReLU6), *pool()]
    classifier = nn.Sequential(nn.Unflatten(1, (1280, 1, 1)), nn.Conv2d(1280, classes, 1), nn.Flatten())
    return Network(nn.Sequential(*body), classifier)
