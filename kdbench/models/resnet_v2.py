"""ResNets of pre-activated blocks for 32x32 images, as FNKD has them: 20, 56 and 110 layers.

Sources: He et al., Identity Mappings in Deep Residual Networks (1603.05027); as released for FNKD (aztc/FNKD
at 099b6ca) in `models/symbol_Resnet_cifar.py`, which is Gluon's network with its own classifier.

The image passes a batch norm without scale and shift; a shortcut that changes the shape is a 1x1 convolution
of the block's raw input, not of the activated one as in the paper. Initialisation is what the released script
gets by `net.initialize()`, MXNet's default: weights uniform in ±0.07, biases 0. MXNet's running variances are
not corrected for the batch's size; here they are, as PyTorch does: a factor of 1.0001 at 128 images of 8x8.
"""

from functools import partial

from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.unit import pool, stages

UNIFORM = 0.07
"""The bound of MXNet's default initializer."""


class PreActivated(nn.Module):
    """branch(x) + shortcut(x): norm and ReLU come before each convolution, nothing after the sum."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_convolution(ins, outs, stride), *_convolution(outs, outs, 1))
        project = [] if ins == outs else [nn.Conv2d(ins, outs, 1, stride, bias=False)]
        self.shortcut = nn.Sequential(*project)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        return self.branch(x).add_(self.shortcut(x))  # type: ignore[no-any-return]


def _resnet(depth: int, classes: int, channels: int) -> nn.Module:
    """Three stages of `depth` blocks: (N, channels, 32, 32) to K = classes, D = 64."""
    first = (nn.BatchNorm2d(channels, affine=False), nn.Conv2d(channels, 16, 3, padding=1, bias=False))
    parts = stages(PreActivated, 16, (16, 32, 64), (depth,) * 3)
    last = (nn.BatchNorm2d(64), nn.ReLU(inplace=True), *pool())
    network = Network(nn.Sequential(*first, *parts, *last), nn.Linear(64, classes))
    return network.apply(uniform)


def _convolution(ins: int, outs: int, stride: int) -> tuple[nn.Module, ...]:
    """Norm, ReLU, 3x3 convolution."""
    conv = nn.Conv2d(ins, outs, 3, stride, padding=1, bias=False)
    return nn.BatchNorm2d(ins), nn.ReLU(inplace=True), conv


def uniform(module: nn.Module) -> None:
    """Draw a layer's weights as MXNet does by default."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.uniform_(module.weight, -UNIFORM, UNIFORM)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


resnet20_v2 = partial(_resnet, 3)
"""278,132 parameters for 100 classes."""
resnet56_v2 = partial(_resnet, 9)
"""861,428 parameters for 100 classes."""
resnet110_v2 = partial(_resnet, 18)
"""1,736,372 parameters for 100 classes."""
