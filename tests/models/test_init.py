"""Initialisation as the authors' code has it: PyTorch's default, but Kaiming's for ResNeXt."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.support import networks
from tests.support.marks import slow_but

ALL = ["resnet18", "resnet50", "densenet121", "googlenet", "mobilenetv2", "shufflenetv2", "plaincnn"]
DEFAULT = slow_but(["mobilenetv2", "shufflenetv2", "plaincnn"], ALL)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return networks.build(name)


def weighted(network: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    return (m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def assert_uniform(values: Tensor, bound: float) -> None:
    """All within the bound, some near it, and the std is bound / sqrt(3).

    The std of n uniform draws has itself a relative std of sqrt((9/5 - 1) / 4n); six of these are allowed.
    """
    n = values.numel()
    assert 0.95 * bound < values.abs().max() <= bound
    assert values.std().item() == pytest.approx(bound / 3**0.5, rel=6 * (0.2 / n) ** 0.5)


def assert_normal(values: Tensor, std: float) -> None:
    """Some beyond 3 std, where no uniform draw is, and the std as given.

    The std of n normal draws has itself a relative std of 1 / sqrt(2n); six of these are allowed.
    """
    assert values.abs().max() > 3 * std
    assert values.std().item() == pytest.approx(std, rel=6 * (0.5 / values.numel()) ** 0.5)


@pytest.mark.parametrize("name", DEFAULT)
def test_weights_are_uniform_by_fan_in(name: str) -> None:
    for layer in weighted(build(name)):
        assert_uniform(layer.weight.detach(), layer.weight[0].numel() ** -0.5)


@pytest.mark.parametrize("name", DEFAULT)
def test_biases_are_uniform_by_fan_in(name: str) -> None:
    layers = [layer for layer in weighted(build(name)) if layer.bias is not None]
    scaled = [
        layer.bias.detach() * layer.weight[0].numel() ** 0.5 for layer in layers if layer.bias is not None
    ]
    assert_uniform(torch.cat(scaled), 1 + 1e-6)  # together: one layer has too few


@pytest.mark.slow
def test_resnext_weights_are_normal_by_fan_out() -> None:
    *convs, classifier = weighted(build("resnext29"))
    for conv in convs:
        fan_out = conv.weight.shape[0] * conv.weight[0, 0].numel()  # groups do not lower it in PyTorch
        assert_normal(conv.weight.detach(), (2 / fan_out) ** 0.5)
    assert_normal(classifier.weight.detach(), (2 / 1024) ** 0.5)
    assert torch.equal(classifier.get_parameter("bias"), torch.zeros(100))


@pytest.mark.parametrize("name", [*DEFAULT, pytest.param("resnext29", marks=pytest.mark.slow), "digits_cnn"])
def test_norms_start_as_identity(name: str) -> None:
    norms = [m for m in build(name).modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    ones = torch.cat([t for m in norms for t in (m.weight, m.running_var) if t is not None])
    zeros = torch.cat([t for m in norms for t in (m.bias, m.running_mean) if t is not None])
    assert torch.equal(ones, torch.ones_like(ones))
    assert torch.equal(zeros, torch.zeros_like(ones))
