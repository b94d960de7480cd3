"""MobileNetV2 as Tf-KD has it, for small images.

Sources: Sandler et al., MobileNetV2 (1801.04381); as released for Tf-KD (1909.11723) in
`model/mobilenetv2.py`. It is not the libraries' network: the stem is a 1x1 convolution with padding 1, which
puts a frame around the image (32 to 34) and does not halve it; the stage of 160 channels does not halve it
either; the first block has its expansion, by a factor of 1; convolutions have biases; no dropout.
"""

from collections.abc import Callable, Iterable
from itertools import chain

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
    """Expand by 1x1, filter each channel by 3x3, project by 1x1 without activation; add x if shapes agree.

    Args:
        ins: channels in.
        outs: channels out.
        expansion: of the channels in between.
        stride: of the filter.
        relu: the activation.
        bias: let the convolutions have biases.
        expand_by_one: let an expansion by a factor of 1 be a convolution too.
    """

    def __init__(
        self,
        ins: int,
        outs: int,
        expansion: int,
        stride: int,
        relu: type[nn.ReLU | nn.ReLU6] = nn.ReLU6,
        *,
        bias: bool = True,
        expand_by_one: bool = True,
    ) -> None:
        super().__init__()
        inner = expansion * ins
        expands = expansion > 1 or expand_by_one
        self.branch = nn.Sequential(
            *(unit(nn.Conv2d(ins, inner, 1, bias=bias), relu) if expands else ()),
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
    first = unit(nn.Conv2d(channels, 32, 1, padding=1), nn.ReLU6)
    blocks = chain.from_iterable(blocks_of(STAGES, 32, InvertedResidual))
    last = (*unit(nn.Conv2d(320, 1280, 1), nn.ReLU6), *pool())
    classifier = nn.Sequential(nn.Unflatten(1, (1280, 1, 1)), nn.Conv2d(1280, classes, 1), nn.Flatten())
    return Network(nn.Sequential(*first, *blocks, *last), classifier)


def blocks_of(
    stages: Iterable[tuple[int, int, int, int]], ins: int, block: Callable[..., InvertedResidual]
) -> list[list[InvertedResidual]]:
    """The blocks of each stage (expansion, channels, blocks, stride), behind so many channels.

    The first block of a stage changes the channels and has the stride. All are made at once: initial weights
    are drawn in the order in which layers are made.
    """
    found = []
    for expansion, outs, depth, stride in stages:
        first = block(ins, outs, expansion, stride)
        found.append([first, *(block(outs, outs, expansion, 1) for _ in range(depth - 1))])
        ins = outs
    return found
