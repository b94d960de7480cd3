"""GoogLeNet as Tf-KD has it, for small images.

Sources: Szegedy et al., Going Deeper with Convolutions (1409.4842); as released for Tf-KD (1909.11723) in
`model/googlenet.py`. It is neither the paper's nor the libraries' network: the stem is one 3x3
convolution; batch norm throughout; two 3x3 convolutions stand for each 5x5; no auxiliary classifiers.
"""

import torch
from torch import Tensor, nn

from kdbench.models.output import Network
from kdbench.models.unit import pool, unit


class Inception(nn.Module):
    """Four branches side by side; `widths` are n1x1, n3x3 reduced, n3x3, n5x5 reduced, n5x5, n pooled."""

    def __init__(self, ins: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        n1, r3, n3, r5, n5, n_pool = widths
        self.branches = nn.ModuleList(
            [
                nn.Sequential(*unit(nn.Conv2d(ins, n1, 1))),
                nn.Sequential(*unit(nn.Conv2d(ins, r3, 1)), *unit(nn.Conv2d(r3, n3, 3, padding=1))),
                nn.Sequential(
                    *unit(nn.Conv2d(ins, r5, 1)),
                    # Released as BatchNorm2d(n, n), whose second argument is eps: this norm divides by
                    # sqrt(var + n). Kept, because the released numbers were made with it.
                    *unit(nn.Conv2d(r5, n5, 3, padding=1), eps=n5),
                    *unit(nn.Conv2d(n5, n5, 3, padding=1)),
                ),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *unit(nn.Conv2d(ins, n_pool, 1))),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, n1x1 + n3x3 + n5x5 + n pooled, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def googlenet(classes: int, channels: int) -> nn.Module:
    """GoogLeNet: (N, channels, 32, 32) to K = classes, D = 1024. PyTorch's default initialisation."""
    body = nn.Sequential(
        *unit(nn.Conv2d(channels, 192, 3, padding=1)),
        Inception(192, (64, 96, 128, 16, 32, 32)),
        Inception(256, (128, 128, 192, 32, 96, 64)),
        nn.MaxPool2d(3, stride=2, padding=1),
        Inception(480, (192, 96, 208, 16, 48, 64)),
        Inception(512, (160, 112, 224, 24, 64, 64)),
        Inception(512, (128, 128, 256, 24, 64, 64)),
        Inception(512, (112, 144, 288, 32, 64, 64)),
        Inception(528, (256, 160, 320, 32, 128, 128)),
        nn.MaxPool2d(3, stride=2, padding=1),
        Inception(832, (256, 160, 320, 32, 128, 128)),
        Inception(832, (384, 192, 384, 48, 128, 128)),
        *pool(),
        nn.Dropout(0.4),  # released as Dropout2d on maps of one pixel: the same
    )
    return Network(body, nn.Linear(1024, classes))
