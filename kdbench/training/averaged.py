"""The mean of a network's weights over the steps of its training, which is evaluated in their place."""

from copy import deepcopy

import torch
from torch import nn


class Averaged:
    """An exponential moving average, as timm's ModelEmaV3 has it: from the first step on, without a warm-up.

    Weights are averaged, and so are the buffers that have fractions: running means and variances of batch
    norm. Counters are copied.

    Args:
        network: what is trained; its mean starts as it is now.
        decay: of the mean, at each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = deepcopy(network).eval().requires_grad_(requires_grad=False)
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self.means = [(mean, of) for mean, of in pairs if mean.is_floating_point()]
        self.copies = [(copy, of) for copy, of in pairs if not copy.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """a = d a + (1 - d) w, after a step."""
        means, weights = zip(*self.means, strict=True)
        torch._foreach_lerp_(means, weights, weight=1 - self.decay)
        for copy, of in self.copies:
            copy.copy_(of)
