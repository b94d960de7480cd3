"""ShuffleNetV2 1x as Tf-KD has it, for small images.

Sources: Ma et al., ShuffleNet V2 (1807.11164); as released for Tf-KD (1909.11723) in
`model/shufflenetv2.py`. It is not the libraries' network: the stem has stride 1 and neither ReLU nor
max-pool; the long branch of a halving unit keeps its width up to the last convolution; convolutions have
biases.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import channel_shuffle

from kdbench.models.output import Network
from kdbench.models.unit import pool, unit

STAGES = ((4, 116), (8, 232), (4, 464))
"""(units, channels); the first unit of a stage halves the image."""


class ShuffleUnit(nn.Module):
    """Half the channels as they are, the other half through a branch; then the halves are interleaved."""

    def __init__(self, width: int, *, bias: bool = True) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(*pointwise(half, half, bias), *depthwise(half, half, 1, bias))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        kept, changed = x.chunk(2, dim=1)
        return interleave(kept, self.branch(changed))


class HalvingUnit(nn.Module):
    """All channels through a short and a long branch, each of stride 2; then these are interleaved.

    Args:
        ins: channels in.
        outs: channels out.
        inner: channels inside the long branch (None: as many as come in, as in Tf-KD's).
        bias: let the convolutions have biases.
    """

    def __init__(self, ins: int, outs: int, inner: int | None = None, *, bias: bool = True) -> None:
        super().__init__()
        half, inner = outs // 2, inner or ins
        self.short = nn.Sequential(*depthwise(ins, half, 2, bias))
        self.long = nn.Sequential(*pointwise(ins, inner, bias), *depthwise(inner, half, 2, bias))

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / 2, W / 2)."""
        return interleave(self.short(x), self.long(x))


def shufflenetv2(classes: int, channels: int) -> nn.Module:
    """ShuffleNetV2: (N, channels, 32, 32) to K = classes, D = 1024. PyTorch's default initialisation."""
    body: list[nn.Module] = [*unit(nn.Conv2d(channels, 24, 3, padding=1), relu=None)]
    ins = 24
    for units, width in STAGES:
        body += [HalvingUnit(ins, width), *(ShuffleUnit(width) for _ in range(units - 1))]
        ins = width
    body += [*unit(nn.Conv2d(ins, 1024, 1)), *pool()]
    return Network(nn.Sequential(*body), nn.Linear(1024, classes))


def pointwise(ins: int, outs: int, bias: bool) -> tuple[nn.Module, ...]:  # noqa: FBT001 - as torch has it
    """A 1x1 convolution."""
    return unit(nn.Conv2d(ins, outs, 1, bias=bias))


def depthwise(ins: int, outs: int, stride: int, bias: bool) -> tuple[nn.Module, ...]:  # noqa: FBT001
    """A 3x3 filter for each channel, without activation, then a 1x1 convolution."""
    filters = nn.Conv2d(ins, ins, 3, stride, padding=1, groups=ins, bias=bias)
    return *unit(filters, relu=None), *pointwise(ins, outs, bias)


def interleave(a: Tensor, b: Tensor) -> Tensor:
    """Channels a0 b0 a1 b1 ... of two tensors of one shape: what the paper calls a shuffle of two groups.

    Both functions keep the channels last where they are; stack and flatten would not.
    """
    return channel_shuffle(torch.cat([a, b], dim=1), 2)
