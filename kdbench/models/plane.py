"""Plain CNNs of 2 to 10 weighted layers, as TAKD has them, for 32x32 images: teachers, assistants, students.

Sources: Mirzadeh et al., Improved Knowledge Distillation via Teacher Assistant (1902.03393); as released for
TAKD (imirzadeh/Teacher-Assistant-Knowledge-Distillation at 0f8168f) in `plain_cnn_cifar.py`. The widths on
CIFAR-10 are others than on CIFAR-100. PyTorch's default initialisation.
"""

from functools import partial

from torch import nn

from kdbench.models.output import Network
from kdbench.models.unit import unit


def _plane(blocks: tuple[tuple[int, ...], ...], hidden: int, classes: int, channels: int) -> nn.Module:
    """Blocks of 3x3 convolutions of these widths with a max-pool after each (0: none), then linear layers.

    Args:
        blocks: (32, 32) is two convolutions and a pool; (128, 128, 0) has no pool.
        hidden: the width of a linear layer before the classifier; 0: there is none.
        classes: K.
        channels: of the images, (N, channels, 32, 32), this size only.

    A map is what a block puts out before its pool.
    """
    body: list[nn.Module] = []
    taps = []
    ins, side = channels, 32
    for block in blocks:
        for width in filter(None, block):
            body += unit(nn.Conv2d(ins, width, 3, padding=1))
            ins = width
        taps.append(len(body) - 1)
        if block[-1]:
            body.append(nn.MaxPool2d(2))
            side //= 2
    body.append(nn.Flatten())
    features = ins * side**2
    if hidden:
        body += [nn.Linear(features, hidden), nn.ReLU(inplace=True)]
        features = hidden
    return Network(nn.Sequential(*body), nn.Linear(features, classes), tuple(taps))


plane2_cifar10 = partial(_plane, ((16,), (16,)), 0)
plane4_cifar10 = partial(_plane, ((16, 16), (32, 32)), 0)
plane6_cifar10 = partial(_plane, ((16, 16), (32, 32), (64, 64)), 0)
plane8_cifar10 = partial(_plane, ((16, 16), (32, 32), (64, 64), (128, 128)), 64)
plane10_cifar10 = partial(_plane, ((32, 32), (64, 64), (128, 128), (256, 256, 256, 256)), 128)
plane2_cifar100 = partial(_plane, ((32,), (32,)), 0)
plane4_cifar100 = partial(_plane, ((32, 32), (64, 64)), 0)
plane6_cifar100 = partial(_plane, ((32, 32), (64, 64), (128, 128, 0)), 0)
plane8_cifar100 = partial(_plane, ((32, 32), (64, 64), (128, 128), (256, 256)), 64)
plane10_cifar100 = partial(_plane, ((32, 32), (64, 64), (128, 128), (256, 256, 256, 256)), 512)
