"""The unit that convolutional networks are made of."""

from torch import nn


def unit(
    conv: nn.Conv2d, relu: type[nn.ReLU | nn.ReLU6] | None = nn.ReLU, eps: float = 1e-5
) -> tuple[nn.Module, ...]:
    """A convolution, its batch norm and, unless None, its activation: to be spread into an nn.Sequential.

    They stand side by side in one nn.Sequential, so the norm of a frozen network can be folded into the
    convolution before it by looking at neighbours only.
    """
    norm = nn.BatchNorm2d(conv.out_channels, eps=eps)
    return (conv, norm) if relu is None else (conv, norm, relu(inplace=True))


def pool() -> tuple[nn.Module, ...]:
    """The mean over the image, (N, D, H, W) to (N, D): to be spread into an nn.Sequential."""
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()
