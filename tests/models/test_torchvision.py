"""The networks that are torchvision's but for the stem: the same weights must give the same outputs."""

import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench.models.densenet import densenet121
from kdbench.models.mobilenetv2 import InvertedResidual
from kdbench.models.resnet import resnet18, resnet50, resnext29
from kdbench.models.shufflenetv2 import HalvingUnit, ShuffleUnit

pytestmark = pytest.mark.slow  # importing torchvision from a cold disk takes up to nine seconds


@pytest.fixture(scope="module")
def vision() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its warnings are not ours
        return import_module("torchvision.models")


def assert_same(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> None:
    """Give both the same random weights, by order, and compare outputs and running statistics in double."""
    generator = torch.Generator().manual_seed(0)
    mine, other = ours.double().state_dict(), theirs.double().state_dict()
    for a, b in zip(mine.values(), other.values(), strict=True):
        assert a.shape == b.shape
        if a.is_floating_point():  # around 1 for norms, so that none is the identity; small else
            draw = torch.rand(a.shape, generator=generator, dtype=torch.float64)
            value = 0.5 + draw if a.dim() == 1 else (draw - 0.5) * (12 / a[0].numel()) ** 0.5
            a.copy_(value)
            b.copy_(value)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    for mode in (False, True):
        result = ours.train(mode)(x)
        y = result if isinstance(result, Tensor) else result.logits
        assert y.std() > 1e-3
        torch.testing.assert_close(y, theirs.train(mode)(x), rtol=1e-8, atol=1e-8)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def with_small_stem(network: Any) -> Any:  # noqa: ANN401 - torchvision ships no types
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def test_resnet18_is_torchvisions(vision: ModuleType) -> None:
    theirs = with_small_stem(vision.resnet18(num_classes=10))
    assert_same(resnet18(10, 3), theirs, (2, 3, 32, 32))


def test_resnet50_is_torchvisions(vision: ModuleType) -> None:
    theirs = with_small_stem(vision.resnet50(num_classes=10))
    assert_same(resnet50(10, 3), theirs, (2, 3, 16, 16))


def test_resnext29_is_torchvisions_with_three_stages(vision: ModuleType) -> None:
    resnet = vision.resnet
    theirs = with_small_stem(resnet.ResNet(resnet.Bottleneck, [3, 3, 3, 1], groups=8, width_per_group=64))
    theirs.layer4 = nn.Identity()
    theirs.fc = nn.Linear(1024, 10)
    assert_same(resnext29(10, 3), theirs, (2, 3, 16, 16))


def test_densenet121_is_torchvisions_without_stem_and_transition_relu(vision: ModuleType) -> None:
    theirs = vision.densenet121(num_classes=10)
    theirs.features.conv0 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    for name in ("norm0", "relu0", "pool0"):
        setattr(theirs.features, name, nn.Identity())
    for transition in ("transition1", "transition2", "transition3"):
        getattr(theirs.features, transition).relu = nn.Identity()
    assert_same(densenet121(10, 3), theirs, (2, 3, 16, 16))


def test_mobilenetv2_block_is_torchvisions_with_biases(vision: ModuleType) -> None:
    for outs, stride in ((8, 1), (8, 2), (16, 1)):
        theirs = vision.mobilenetv2.InvertedResidual(8, outs, stride, expand_ratio=6)
        assert_same(without_biases(InvertedResidual(8, outs, 6, stride)), theirs, (2, 8, 7, 7))


def test_shufflenetv2_units_are_torchvisions_with_biases(vision: ModuleType) -> None:
    theirs = vision.shufflenetv2.InvertedResidual
    assert_same(without_biases(HalvingUnit(8, 16)), theirs(8, 16, 2), (2, 8, 8, 8))
    assert_same(without_biases(ShuffleUnit(16)), theirs(16, 16, 1), (2, 16, 8, 8))


def without_biases(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_parameter("bias", None)
    return network
