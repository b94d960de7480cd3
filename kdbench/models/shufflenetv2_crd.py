"""ShuffleNetV2 1x as CRD has it, for 32x32 images.

Sources: Ma et al., ShuffleNet V2 (1807.11164); as released for CRD (1910.10699) in RepDistiller's
`models/ShuffleNetv2.py` at b84f547. Beside Tf-KD's network it has a 1x1 stem with an activation, no biases,
half the width in the long branch of a halving unit, and one unit more in each stage. PyTorch's default
initialisation.
"""

from torch import nn

from kdbench.models.output import Network
from kdbench.models.shufflenetv2 import HalvingUnit, ShuffleUnit
from kdbench.models.unit import pool, unit

STAGES = ((3, 116), (7, 232), (3, 464))
"""(units after the halving one, channels)."""


def shufflenetv2_crd(classes: int, channels: int) -> nn.Module:
    """ShuffleNetV2: (N, channels, 32, 32) to K = classes, D = 1024; four maps."""
    first = unit(nn.Conv2d(channels, 24, 1, bias=False))
    ins = 24
    stages = []
    for units, width in STAGES:
        halving = HalvingUnit(ins, width, width // 2, bias=False)
        stages.append(nn.Sequential(halving, *(ShuffleUnit(width, bias=False) for _ in range(units))))
        ins = width
    last = (*unit(nn.Conv2d(ins, 1024, 1, bias=False)), *pool())
    return Network(nn.Sequential(*first, *stages, *last), nn.Linear(1024, classes), taps=(2, 3, 4, 5))
