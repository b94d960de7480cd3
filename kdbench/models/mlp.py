"""Multilayer perceptrons of given widths, and logistic regression.

Lopez-Paz et al. (ICLR 2016): weights start Glorot-uniform, biases at 0, Keras' default. In code/mnist.py the
teacher is mlp_784_20_20 on MNIST's 28x28 pixels and the student mlp_49_20_20 on 7x7; code/synthetic.py has
logistic regression.

Hinton et al. (2015, section 3): teacher mlp_784_1200_1200, with or without dropout, student mlp_784_800_800.
How their weights start is not printed: Glorot-uniform, as above. Pereyra et al. (2017, Table 1):
mlp_784_1024_1024, whose weights start from N(0, 0.01).
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import nn

from kdbench.models.output import Network

DROPOUT = (0.2, 0.5)
"""Of the inputs and of the hidden units: Hinton et al., arXiv 1207.0580, Appendix A."""


def _glorot(layer: nn.Linear) -> nn.Linear:
    """Weights uniform within ±√(6 / (inputs + outputs)) (Glorot and Bengio, 2010), biases 0."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _normal(layer: nn.Linear) -> nn.Linear:
    """Weights from N(0, 0.01), 0.01 the standard deviation, biases 0."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _mlp(
    pixels: int,
    hidden: tuple[int, ...],
    classes: int,
    channels: int,
    *,
    start: Callable[[nn.Linear], nn.Linear] = _glorot,
    dropout: tuple[float, float] = (0.0, 0.0),
) -> nn.Module:
    """Affine layers, each with ReLU; then the classifier.

    Args:
        pixels: of the images (N, channels, H, W), which are of this size only.
        hidden: widths of the layers. The last one is D; without any, D is the values of an image.
        classes: K, outputs of the classifier.
        channels: of the images.
        start: draws the weights of a layer.
        dropout: which share of the inputs and of each layer's units is dropped in training (0: no dropout).
    """
    of_inputs, of_units = dropout
    widths = (pixels * channels, *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    if of_inputs:
        layers.append(nn.Dropout(of_inputs))
    for inputs, outputs in pairwise(widths):
        layers += [start(nn.Linear(inputs, outputs)), nn.ReLU(inplace=True)]
        if of_units:
            layers.append(nn.Dropout(of_units))
    return Network(nn.Sequential(*layers), start(nn.Linear(widths[-1], classes)))


mlp_784_20_20 = partial(_mlp, 784, (20, 20))
mlp_49_20_20 = partial(_mlp, 49, (20, 20))
mlp_784_1200_1200 = partial(_mlp, 784, (1200, 1200))
mlp_784_1200_1200_dropout = partial(_mlp, 784, (1200, 1200), dropout=DROPOUT)
mlp_784_800_800 = partial(_mlp, 784, (800, 800))
mlp_784_1024_1024 = partial(_mlp, 784, (1024, 1024), start=_normal)
mlp_784_1024_1024_dropout = partial(_mlp, 784, (1024, 1024), start=_normal, dropout=DROPOUT)
logistic = partial(_mlp, 1, ())
