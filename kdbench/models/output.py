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
    maps: tuple[Tensor, ...] = ()
    """(N, C, H, W) each: what the stages put out, the first one first; only if the network was asked."""


def logits_alone(logits: Tensor) -> Output:
    """What is known of a network's output where its logits (N, K) were kept and nothing else."""
    return Output(logits, logits.new_empty(0))


class Network(nn.Module):
    """A body, (N, C, H, W) to (N, D), and a classifier on top of it, (N, D) to (N, K).

    Args:
        body: its last part puts out the features.
        classifier: has one nn.Linear or nn.Conv2d.
        taps: the places of the parts of the body, an nn.Sequential, whose outputs are the network's maps.
    """

    def __init__(self, body: nn.Module, classifier: nn.Module, taps: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.body = body
        self.classifier = classifier
        self.taps = taps
        self.gives_maps = False
        """Set it to get `Output.maps`; the maps then live as long as the output does."""

    def forward(self, images: Tensor) -> Output:
        """The logits and features of a batch of images (N, C, H, W), and its maps if they are asked for."""
        features, maps = self._with_maps(images) if self.gives_maps else (self.body(images), ())
        layer = next(part for part in self.classifier.modules() if isinstance(part, nn.Linear | nn.Conv2d))
        return Output(self.classifier(features), features, layer.weight.flatten(1), layer.bias, maps)

    def _with_maps(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        maps = []
        for place, part in enumerate(self.body.children()):
            x = part(x)
            if place in self.taps:
                maps.append(x)
        return x, tuple(maps)
