"""ResNets and ResNeXts for small images: a 3x3 stem of stride 1, no max-pool, two or three halvings.

Sources: He et al., Deep Residual Learning (1512.03385); Xie et al., Aggregated Residual Transformations
(1611.05431); as released for Tf-KD (1909.11723) in `model/resnet.py` and `model/resnext.py`; ResNet50 also as
released for CRD (1910.10699) in RepDistiller's `models/resnetv2.py` at b84f547. Apart from the stem and the
initialisation they are torchvision's networks (tests/models/test_torchvision.py).
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from kdbench.models.output import Network
from kdbench.models.unit import normal_by_fan_out, pool, stages, unit


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); the shortcut is the identity where the shape stays."""

    def __init__(self, branch: nn.Sequential, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and ins == outs
        project = () if same else unit(nn.Conv2d(ins, outs, 1, stride, bias=False), relu=None)
        self.branch = branch
        self.shortcut = nn.Sequential(*project)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        return relu(self.branch(x).add_(self.shortcut(x)), inplace=True)


Block = Callable[[int, int, int], Residual]
"""A function of (channels in, channels out, stride)."""


def resnet18(classes: int, channels: int) -> nn.Module:
    """ResNet18: (N, channels, 32, 32) to K = classes, D = 512. PyTorch's default initialisation."""
    return resnet(basic, (64, 64, 128, 256, 512), (2, 2, 2, 2), classes, channels)


def resnet50(classes: int, channels: int) -> nn.Module:
    """ResNet50: (N, channels, 32, 32) to K = classes, D = 2048. PyTorch's default initialisation."""
    return resnet(_bottleneck, (64, 256, 512, 1024, 2048), (3, 4, 6, 3), classes, channels)


def resnet50_crd(classes: int, channels: int) -> nn.Module:
    """The same network with RepDistiller's initialisation: convolutions normal by fan-out."""
    return resnet50(classes, channels).apply(normal_by_fan_out)


def resnext29(classes: int, channels: int) -> nn.Module:
    """ResNeXt29 8x64d: (N, channels, 32, 32) to K = classes, D = 1024. Kaiming initialisation."""
    return _resnext(3, classes, channels)


def resnext101(classes: int, channels: int) -> nn.Module:
    """ResNeXt101 8x64d: (N, channels, 32, 32) to K = classes, D = 1024. Kaiming initialisation.

    An assumption: Tf-KD prints numbers of a ResNeXt101 on CIFAR-100 and releases a parameter file for it,
    but no released code builds it. This is the rule of its ResNeXt29, depth = 9 n + 2 with n bottlenecks
    in each of three stages, at n = 11.
    """
    return _resnext(11, classes, channels)


def _resnext(depth: int, classes: int, channels: int) -> nn.Module:
    block = partial(_bottleneck, groups=8)
    network = resnet(block, (64, 256, 512, 1024), (depth,) * 3, classes, channels)
    return network.apply(_kaiming)


def resnet(
    block: Block, widths: tuple[int, ...], depths: tuple[int, ...], classes: int, channels: int
) -> nn.Module:
    """A 3x3 stem and `stages` of blocks, whose outputs are the maps; widths: the stem's, then the stages'."""
    first = unit(nn.Conv2d(channels, widths[0], 3, padding=1, bias=False))
    parts = stages(block, widths[0], widths[1:], depths)
    last = len(first) - 1
    taps = tuple(range(last, last + len(parts) + 1))
    return Network(nn.Sequential(*first, *parts, *pool()), nn.Linear(widths[-1], classes), taps)


def basic(ins: int, outs: int, stride: int) -> Residual:
    """Two 3x3 convolutions; the first carries the stride."""
    branch = nn.Sequential(
        *unit(nn.Conv2d(ins, outs, 3, stride, padding=1, bias=False)),
        *unit(nn.Conv2d(outs, outs, 3, padding=1, bias=False), relu=None),
    )
    return Residual(branch, ins, outs, stride)


def _bottleneck(ins: int, outs: int, stride: int, groups: int = 1) -> Residual:
    """The 3x3 convolution works on `groups` groups of outs / 4 channels and carries the stride."""
    inner = groups * outs // 4
    branch = nn.Sequential(
        *unit(nn.Conv2d(ins, inner, 1, bias=False)),
        *unit(nn.Conv2d(inner, inner, 3, stride, padding=1, groups=groups, bias=False)),
        *unit(nn.Conv2d(inner, outs, 1, bias=False), relu=None),
    )
    return Residual(branch, ins, outs, stride)


def _kaiming(module: nn.Module) -> None:
    """Draw a layer's weights as released for ResNeXt: var = 2 / fan_out (conv), 2 / fan_in (linear)."""
    normal_by_fan_out(module)
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(module.bias)
