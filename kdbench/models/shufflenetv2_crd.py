"""ShuffleNetV2 1x as CRD has it, for 32x32 images.

Sources: Ma et al., ShuffleNet V2 (1807.11164); as released for CRD (1910.10699) in RepDistiller's
`models/ShuffleNetv2.py` at b84f547. Beside Tf-KD's network it has a 1x1 stem with an activation, no biases,
half the width in the long branch of a halving unit, and one unit more in each stage. PyTorch's default
initialisation.
"""

from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.shufflenetv2 import interleave
from kdbench.models.unit import pool, unit

STAGES = ((3, 116), (7, 232), (3, 464))
"""(units after the halving one, channels)."""


class ShuffleUnit(nn.Module):
    """Half the channels as they are, the other half through a branch; then the halves are interleaved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(*_pointwise(half, half), *_depthwise(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        kept, changed = x.chunk(2, dim=1)
        return interleave(kept, self.branch(changed))


class HalvingUnit(nn.Module):
    """All channels through a short and a long branch, each of stride 2; then these are interleaved."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        half = outs // 2
        self.short = nn.Sequential(*_depthwise(ins, half, 2))
        self.long = nn.Sequential(*_pointwise(ins, half), *_depthwise(half, half, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / 2, W / 2)."""
        return interleave(self.short(x), self.long(x))


def shufflenetv2_crd(classes: int, channels: int) -> nn.Module:
    """ShuffleNetV2: (N, channels, 32, 32) to K = classes, D = 1024; four maps."""
    first = _pointwise(channels, 24)
    ins = 24
    stages = []
    for units, width in STAGES:
        stages.append(nn.Sequential(HalvingUnit(ins, width), *(ShuffleUnit(width) for _ in range(units))))
        ins = width
    last = (*_pointwise(ins, 1024), *pool())
    return Network(nn.Sequential(*first, *stages, *last), nn.Linear(1024, classes), taps=(2, 3, 4, 5))


def _pointwise(ins: int, outs: int) -> tuple[nn.Module, ...]:
    return unit(nn.Conv2d(ins, outs, 1, bias=False))


def _depthwise(ins: int, outs: int, stride: int) -> tuple[nn.Module, ...]:
    """A 3x3 filter for each channel, without activation, then a 1x1 convolution."""
    filters = nn.Conv2d(ins, ins, 3, stride, padding=1, groups=ins, bias=False)
    return *unit(filters, relu=None), *_pointwise(ins, outs)
