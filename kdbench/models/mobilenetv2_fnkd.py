"""MobileNetV2 as FNKD has it, for small images.

Sources: Sandler et al., MobileNetV2 (1801.04381); as released for FNKD (aztc/FNKD at 099b6ca) in
`models/symbol_mobilenet_cifar.py`. It is Gluon's network with two halvings left, before the 64 channels and
before the 160: 32 pixels become 8. No convolution has a bias, nor has the classifier; the first block has no
expansion. Initialisation is MXNet's default, weights uniform in ±0.07, as for FNKD's ResNets.
"""

from functools import partial
from itertools import chain

from torch import nn

from kdbench.models.mobilenetv2 import InvertedResidual, blocks_of
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


def mobilenetv2_fnkd(classes: int, channels: int) -> nn.Module:
    """MobileNetV2 of FNKD: (N, channels, 32, 32) to K = classes, D = 1280; the classifier has no bias."""
    block = partial(InvertedResidual, bias=False, expand_by_one=False)
    first = unit(nn.Conv2d(channels, 32, 3, padding=1, bias=False), nn.ReLU6)
    blocks = chain.from_iterable(blocks_of(STAGES, 32, block))
    last = (*unit(nn.Conv2d(320, 1280, 1, bias=False), nn.ReLU6), *pool())
    return Network(nn.Sequential(*first, *blocks, *last), nn.Linear(1280, classes, bias=False)).apply(uniform)
