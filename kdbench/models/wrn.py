"""Wide ResNets for 32x32 images: WRN-depth-width.

Sources: Zagoruyko & Komodakis, Wide Residual Networks (1605.07146); as released for CRD (1910.10699) in
RepDistiller's `models/wrn.py` at b84f547, without dropout. Convolutions start normal by fan-out, the
classifier's weights as by PyTorch's default and its bias 0.
"""

from functools import partial

from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.unit import normal_by_fan_out, pool, stages, unit


class WideBlock(nn.Module):
    """branch(a) + shortcut, a = relu(norm(x)): the shortcut is x itself or, of another width, a 1x1 of a."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(ins), nn.ReLU(inplace=True))
        self.branch = nn.Sequential(
            *unit(nn.Conv2d(ins, outs, 3, stride, padding=1, bias=False)),
            nn.Conv2d(outs, outs, 3, padding=1, bias=False),
        )
        self.project = None if ins == outs else nn.Conv2d(ins, outs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        a = self.activation(x)
        y: Tensor = self.branch(a)
        return y.add_(x if self.project is None else self.project(a))


def _wrn(depth: int, width: int, classes: int, channels: int) -> nn.Module:
    """6 n + 4 layers: (N, channels, 32, 32) to K = classes, D = 64 · width; four maps."""
    widths = (16 * width, 32 * width, 64 * width)
    parts = stages(WideBlock, 16, widths, ((depth - 4) // 6,) * 3)
    first = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
    last = (nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), *pool())
    classifier = nn.Linear(widths[-1], classes)
    nn.init.zeros_(classifier.bias)
    network = Network(nn.Sequential(first, *parts, *last), classifier, taps=(0, 1, 2, 3))
    return network.apply(normal_by_fan_out)


wrn_16_1 = partial(_wrn, 16, 1)
wrn_16_2 = partial(_wrn, 16, 2)
wrn_40_1 = partial(_wrn, 40, 1)
wrn_40_2 = partial(_wrn, 40, 2)
