"""VGG with batch norm for 32x32 images: 8, 11, 13, 16 and 19 layers.

Sources: Simonyan & Zisserman, Very Deep Convolutional Networks (1409.1556); as released for CRD (1910.10699)
in RepDistiller's `models/vgg.py` at b84f547. The image is halved three times, not five; one linear layer
stands for three. Convolutions have biases and start normal by fan-out, the classifier with a std of 0.01.
"""

from functools import partial

from torch import nn

from kdbench.models.output import Network
from kdbench.models.unit import normal_with_small_classifier, pool, unit

WIDTHS = (64, 128, 256, 512, 512)


def _vgg(depths: tuple[int, ...], classes: int, channels: int) -> nn.Module:
    """Blocks of `depths` convolutions: (N, channels, 32, 32) to K = classes, D = 512; five maps."""
    body: list[nn.Module] = []
    taps = []
    ins = channels
    for block, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True)):
        if 0 < block < 4:
            body.append(nn.MaxPool2d(2))
        for _ in range(depth):
            body += unit(nn.Conv2d(ins, width, 3, padding=1))
            ins = width
        taps.append(len(body) - 1)
    network = Network(nn.Sequential(*body, *pool()), nn.Linear(ins, classes), tuple(taps))
    return network.apply(normal_with_small_classifier)


vgg8 = partial(_vgg, (1, 1, 1, 1, 1))
vgg11 = partial(_vgg, (1, 1, 2, 2, 2))
vgg13 = partial(_vgg, (2, 2, 2, 2, 2))
vgg16 = partial(_vgg, (2, 2, 3, 3, 3))
vgg19 = partial(_vgg, (2, 2, 4, 4, 4))
