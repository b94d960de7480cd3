"""The network that knows nothing: zero at its start, so that untrained it is a teacher of uniform targets."""

from torch import nn
from torch.nn.init import zeros_

from kdbench.models.output import Network


def blank(classes: int, channels: int) -> nn.Module:
    """(N, channels, H, W) to K = classes, D = channels: linear in each channel's mean, W = 0 and b = 0."""
    classifier = nn.Linear(channels, classes)
    zeros_(classifier.weight)
    zeros_(classifier.bias)
    return Network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), classifier)
