"""The unit that convolutional networks are made of."""

from collections.abc import Callable

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


def stages(
    block: Callable[[int, int, int], nn.Module], ins: int, widths: tuple[int, ...], depths: tuple[int, ...]
) -> list[nn.Sequential]:
    """Stages of blocks, one behind the other; all but the first halve the image.

    Args:
        block: makes a block of (channels in, channels out, stride).
        ins: channels that the first stage gets.
        widths: of each stage.
        depths: of each stage.
    """
    found: list[nn.Sequential] = []
    for width, depth in zip(widths, depths, strict=True):
        blocks = [block(ins, width, 2 if found else 1)]
        blocks += [block(width, width, 1) for _ in range(depth - 1)]
        found.append(nn.Sequential(*blocks))
        ins = width
    return found


def normal_by_fan_out(module: nn.Module) -> None:
    """Draw a convolution's weights from N(0, 2 / fan_out), and set its bias to 0; for `Module.apply`.

    fan_out = k² · channels out, whatever the groups: He et al., 1502.01852, as torch counts it.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def normal_with_small_classifier(module: nn.Module) -> None:
    """The same, and a linear layer's weights from N(0, 0.01²), its bias 0."""
    normal_by_fan_out(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
