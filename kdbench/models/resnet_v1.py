"""ResNets of three stages for 32x32 images: 16-32-64 channels, and four times as many.

Sources: He et al., Deep Residual Learning (1512.03385), section 4.2; as released for CRD (1910.10699) in
RepDistiller's `models/resnet.py` at b84f547. A shortcut that changes the shape is a 1x1 convolution with a
norm. The widened ones keep a stem of half the first stage's channels, so that their first stage has such a
shortcut too. Convolutions start normal by fan-out, the classifier as by PyTorch's default.
"""

from functools import partial

from torch import nn

from kdbench.models.resnet import basic, resnet
from kdbench.models.unit import normal_by_fan_out

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)
"""Channels of the stem and of the three stages."""


def _resnet(depth: int, widths: tuple[int, int, int, int], classes: int, channels: int) -> nn.Module:
    """6 n + 2 layers: (N, channels, 32, 32) to K = classes, D = the last width; four maps."""
    network = resnet(basic, widths, ((depth - 2) // 6,) * 3, classes, channels)
    return network.apply(normal_by_fan_out)


resnet8 = partial(_resnet, 8, NARROW)
resnet14 = partial(_resnet, 14, NARROW)
resnet20 = partial(_resnet, 20, NARROW)
resnet32 = partial(_resnet, 32, NARROW)
resnet44 = partial(_resnet, 44, NARROW)
resnet56 = partial(_resnet, 56, NARROW)
resnet110 = partial(_resnet, 110, NARROW)
resnet8x4 = partial(_resnet, 8, WIDE)
resnet32x4 = partial(_resnet, 32, WIDE)
