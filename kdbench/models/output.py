"""What every network of kdbench returns, and the two parts every one of them has."""

from typing import NamedTuple

from torch import Tensor, nn


class Output(NamedTuple):
    """What a network makes of N images.

    The features are those that the classifier sees: after pooling, and in training after dropout.
    So `logits` is an affine function of `features` in every network, which feature losses rely on.
    """

    logits: Tensor
    """(N, K): one row of K class scores an image."""
    features: Tensor
    """(N, D): the penultimate features."""
    weight: Tensor | None = None
    """(K, D): W of the classifier, for losses that look into it; None: the network does not say."""
    bias: Tensor | None = None
    """(K,): b of logits = W f + b; None, where W is given: the classifier has none."""


class Network(nn.Module):
    """A body, (N, C, H, W) to (N, D), and a classifier on top of it, (N, D) to (N, K)."""

    def __init__(self, body: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.classifier = classifier

    def forward(self, images: Tensor) -> Output:
        """The logits and features of a batch of images (N, C, H, W)."""
        features = self.body(images)
        layer = next(part for part in self.classifier.modules() if isinstance(part, nn.Linear | nn.Conv2d))
        return Output(self.classifier(features), features, layer.weight.flatten(1), layer.bias)
