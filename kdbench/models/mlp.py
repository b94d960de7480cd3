"""Multilayer perceptrons of given widths, and logistic regression, as Lopez-Paz et al. (ICLR 2016) have them.

Weights start Glorot-uniform, biases at 0: Keras' default. In code/mnist.py the teacher is mlp_784_20_20 on
MNIST's 28x28 pixels and the student mlp_49_20_20 on 7x7; code/synthetic.py has logistic regression.
"""

from itertools import pairwise

from torch import nn

from kdbench.models.output import Network


def mlp_784_20_20(classes: int, channels: int) -> nn.Module:
    """(N, channels, 28, 28), this size only, to K = classes, D = 20."""
    return mlp((784 * channels, 20, 20), classes)


def mlp_49_20_20(classes: int, channels: int) -> nn.Module:
    """(N, channels, 7, 7), this size only, to K = classes, D = 20."""
    return mlp((49 * channels, 20, 20), classes)


def logistic(classes: int, channels: int) -> nn.Module:
    """(N, channels, 1, 1), this size only, to K = classes, D = channels."""
    return mlp((channels,), classes)


def mlp(widths: tuple[int, ...], classes: int) -> nn.Module:
    """Affine layers of these widths, the first the input's, each with ReLU; then the classifier."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [_glorot(nn.Linear(inputs, outputs)), nn.ReLU(inplace=True)]
    return Network(nn.Sequential(*layers), _glorot(nn.Linear(widths[-1], classes)))


def _glorot(layer: nn.Linear) -> nn.Linear:
    """Weights uniform within ±√(6 / (inputs + outputs)) (Glorot and Bengio, 2010), biases 0."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
