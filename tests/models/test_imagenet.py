"""timm's networks: their counts, the two parts they are taken into, how they start."""

from typing import Any

import pytest
import torch
from torch import nn

from kdbench.catalog import MODELS, load
from kdbench.models.output import Output
from tests.support.marks import slow_but

FACTS = {
    "resnet18_224": (11_689_512, 512),
    "resnet34_224": (21_797_672, 512),
    "resnet50_224": (25_557_032, 2048),
    "resnet101_224": (44_549_160, 2048),
    "resnet152_224": (60_192_808, 2048),
    "densenet121_224": (7_978_856, 1024),
    "resnext101_32x8d_224": (88_791_336, 2048),
    "mobilenetv1_224": (4_231_976, 1024),
    "mobilenetv2_224": (3_504_872, 1280),
}
"""Parameters with 1000 classes, as torchvision documents its networks, and features."""
SMALL = slow_but(["mobilenetv2_224"], ["resnet18_224", "densenet121_224", "mobilenetv2_224"])


def build(name: str, classes: int = 20, channels: int = 3) -> nn.Module:
    torch.manual_seed(3)
    network = load(MODELS[name].code)(classes, channels)
    assert isinstance(network, nn.Module)
    return network


def images(channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(0))


def test_every_network_of_timm_has_facts() -> None:
    assert set(FACTS) == {name for name, entry in MODELS.items() if entry.timm}


@pytest.mark.parametrize("name", slow_but(["resnet18_224", "mobilenetv1_224", "mobilenetv2_224"], FACTS))
def test_parameters_as_published(name: str) -> None:
    import timm

    with torch.device("meta"):
        network = build(name, classes=1000)
        theirs = timm.create_model(MODELS[name].timm)
    count, features = FACTS[name]
    assert sum(each.numel() for each in network.parameters()) == count
    assert sum(each.numel() for each in theirs.parameters()) == count
    assert network.get_submodule("classifier").in_features == features


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_the_classifier_of_the_features(name: str) -> None:
    output = build(name, channels=1).train()(images(1))
    assert isinstance(output, Output)
    assert (output.logits.shape, output.features.shape) == ((2, 20), (2, FACTS[name][1]))
    assert output.weight is not None
    assert output.bias is not None
    torch.testing.assert_close(output.logits, output.features @ output.weight.T + output.bias)


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_those_of_timm(name: str) -> None:
    import timm

    torch.manual_seed(3)
    zero: dict[str, Any] = {"zero_init_last": False} if "resnet" in name else {}
    theirs = timm.create_model(MODELS[name].timm, num_classes=20, **zero).eval()
    assert build(name).eval()(images()).logits.equal(theirs(images()))


@pytest.mark.parametrize("name", SMALL)
def test_start_is_the_seeds(name: str) -> None:
    first, rerun = build(name).state_dict(), build(name).state_dict()
    assert all(first[key].equal(rerun[key]) for key in first)
    torch.manual_seed(4)
    other = load(MODELS[name].code)(20, 3).state_dict()
    assert not other["classifier.weight"].equal(first["classifier.weight"])


@pytest.mark.slow
def test_resnet_starts_with_scales_of_one_as_torchvisions() -> None:
    norms = [m for m in build("resnet18_224").modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() for norm in norms)
