"""MobileNetV2 of half the width, as CRD has it, for 32x32 images.

Sources: Sandler et al., MobileNetV2 (1801.04381); as released for CRD (1910.10699) in RepDistiller's
`models/mobilenetv2.py` at b84f547 (`mobile_half`, T = 6). It is neither the libraries' network nor Tf-KD's:
ReLU stands for ReLU6; the first block has its expansion, by a factor of 1; the stem halves the image and the
stages halve it three times more, so that 2x2 pixels are left. Convolutions have no biases and start normal
by fan-out, the classifier with a std of 0.01.
"""

from functools import partial

from torch import nn

from kdbench.models.mobilenetv2 import InvertedResidual, blocks_of
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


def mobilenetv2_crd(classes: int, channels: int) -> nn.Module:
    """MobileNetV2: (N, channels, 32, 32) to K = classes, D = 1280; five maps."""
    block = partial(InvertedResidual, relu=nn.ReLU, bias=False)
    first = unit(nn.Conv2d(channels, 16, 3, 2, padding=1, bias=False))
    stages = [nn.Sequential(*blocks) for blocks in blocks_of(STAGES, 16, block)]
    last = (*unit(nn.Conv2d(160, 1280, 1, bias=False)), *pool())
    taps = (2, *(len(first) + stage for stage in MAPPED))
    network = Network(nn.Sequential(*first, *stages, *last), nn.Linear(1280, classes), taps)
    return network.apply(normal_with_small_classifier)
