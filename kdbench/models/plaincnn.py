"""The plain five-layer CNN: three convolutions, two linear layers.

Source: as released for Tf-KD (1909.11723) in `model/net.py`, with the width 32 and the dropout 0.5 of
`experiments/base_experiments/base_cnn/params.json`.
"""

from torch import nn

from kdbench.models.output import Network


def plaincnn(classes: int, channels: int) -> nn.Module:
    """Plain CNN: (N, channels, 32, 32), this size only, to K = classes, D = 128.

    PyTorch's default initialisation.
    """
    body = nn.Sequential(
        *_convolution(channels, 32),
        *_convolution(32, 64),
        *_convolution(64, 128),
        nn.Flatten(),
        nn.Linear(128 * 4 * 4, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
    )
    return Network(body, nn.Linear(128, classes))


def _convolution(ins: int, outs: int) -> tuple[nn.Module, ...]:
    """A 3x3 convolution, norm, pool, ReLU: (N, ins, H, W) to (N, outs, H / 2, W / 2)."""
    conv = nn.Conv2d(ins, outs, 3, padding=1)
    return conv, nn.BatchNorm2d(outs), nn.MaxPool2d(2), nn.ReLU(inplace=True)
