"""RepDistiller's networks against facts measured on its code (golden/repdistiller_models.json); TAKD's."""

import json
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench import catalog
from kdbench.models.output import Network, Output
from tests.support.marks import slow_but
from tests.support.networks import Layer, build, images, layers_called
from tests.support.places import GOLDEN

FACTS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "repdistiller_models.json").read_text())["models"]
NAMES = {
    "ResNet50": "resnet50_crd",
    "MobileNetV2": "mobilenetv2_crd",
    "ShuffleV1": "shufflenetv1",
    "ShuffleV2": "shufflenetv2_crd",
}
"""Of those whose name in the authors' code is not ours."""
OURS = {NAMES.get(name, name): facts for name, facts in FACTS.items()}
POOL: Layer = ["AdaptiveAvgPool2d", [1, 1]]
PLANE = [f"plane{depth}_cifar{classes}" for classes in (10, 100) for depth in (2, 4, 6, 8, 10)]
FAST = {
    "resnet8",
    "vgg8",
    "wrn_16_1",
    "shufflenetv1",
    "shufflenetv2_crd",
    "mobilenetv2_crd",
    "plane6_cifar100",
}
"""One of each family whose maps are its own; in the golden file, those whose tests take little."""
LARGE = {"resnet50_crd", "vgg11", "vgg13", "vgg16", "vgg19", "resnet110", "resnet32x4", "wrn_40_2"}
MAPPED = slow_but(
    FAST,
    [name for name, entry in catalog.MODELS.items() if entry.maps and name != "resnext101"],
)


def released_layers(name: str) -> list[Layer]:
    """As in the golden file; the last pool, a function in some of the authors' networks, is always there."""
    layers = list(OURS[name]["layers_in_call_order"])
    if layers[-2][0].endswith("Pool2d"):
        assert layers.pop(-2)[1] == [1, 1]
    return [*layers[:-1], POOL, layers[-1]]


def mapped(network: nn.Module, batch: Tensor) -> Output:
    assert isinstance(network, Network)
    network.gives_maps = True
    with torch.no_grad():
        output = network.eval()(batch)
    network.gives_maps = False
    assert isinstance(output, Output)
    return output


@pytest.fixture(scope="module", params=slow_but(set(OURS) - LARGE, OURS))
def released(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """A network of the authors' by its name, built once for all tests of it."""
    torch.manual_seed(0)
    return request.param, build(request.param)


def test_layers_in_call_order_as_released(released: tuple[str, nn.Module]) -> None:
    name, network = released
    assert layers_called(network.eval(), images(name, n=1)) == released_layers(name)


def test_parameters_as_released(released: tuple[str, nn.Module]) -> None:
    name, network = released
    parameters = list(network.parameters())
    assert Counter("x".join(map(str, p.shape)) for p in parameters) == OURS[name]["parameter_shapes"]
    assert sum(p.numel() for p in parameters) == OURS[name]["parameters"]


def test_maps_and_features_as_released(released: tuple[str, nn.Module]) -> None:
    name, network = released
    output = mapped(network, images(name))
    assert [list(each.shape[1:]) for each in output.maps] == OURS[name]["maps"]
    assert list(output.features.shape[1:]) == OURS[name]["features"]


def test_initialisation_as_released(released: tuple[str, nn.Module]) -> None:
    """Convolutions by fan-out, or by PyTorch's default; the classifier's std is the one that was measured."""
    name, network = released
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for conv in convs:
        fan_out = conv.out_channels * conv.weight[0, 0].numel()
        std = (2 / fan_out) ** 0.5
        if name.startswith("shuffle"):
            std = (3 * conv.weight[0].numel()) ** -0.5
        n = conv.weight.numel()
        assert conv.weight.std().item() == pytest.approx(std, rel=6 * (0.5 / n) ** 0.5)
        assert conv.bias is None or not conv.bias.any()
    classifier = network.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    *_, measured = OURS[name]["weight_std"].values()
    assert classifier.weight.std().item() == pytest.approx(measured, rel=0.06)
    assert bool(classifier.bias.any()) == (not name.startswith(("wrn", "vgg", "mobile")))


@pytest.mark.parametrize("name", MAPPED)
def test_maps_cost_nothing_unless_asked_for_and_change_nothing(name: str) -> None:
    channels = 1 if name.startswith("digits") else 3
    network, batch = build(name, channels=channels).eval(), images(name, n=1, channels=channels)
    with torch.no_grad():
        plain = network(batch)
    with_maps = mapped(network, batch)
    assert plain.maps == ()
    assert len(with_maps.maps) >= 2
    assert plain.logits.equal(with_maps.logits)
    assert all(each.shape[0] == 1 and each.ndim == 4 for each in with_maps.maps)
    assert all(each.isfinite().all() for each in with_maps.maps)


@pytest.mark.parametrize("name", ["resnet20", "vgg8", "shufflenetv1"])
def test_maps_are_after_the_activation(name: str) -> None:
    assert all(bool((each >= 0).all()) for each in mapped(build(name), images(name)).maps)


@pytest.mark.parametrize(("name", "signed"), [("wrn_16_2", (0, 1, 2, 3)), ("mobilenetv2_crd", (1, 2, 3, 4))])
def test_maps_that_have_both_signs(name: str, signed: tuple[int, ...]) -> None:
    """WRN's are sums before the next norm, and a bottleneck of MobileNetV2 ends without an activation."""
    maps = mapped(build(name), images(name)).maps
    assert [place for place, each in enumerate(maps) if bool((each < 0).any())] == list(signed)


def test_vgg_last_map_is_what_is_pooled() -> None:
    output = mapped(build("vgg8"), images("vgg8"))
    torch.testing.assert_close(output.maps[-1].mean(dim=(2, 3)), output.features)


@pytest.mark.parametrize("name", slow_but({"plane2_cifar10", "plane8_cifar100"}, PLANE))
def test_plane_networks_as_taught_by_takd(name: str) -> None:
    depth, classes = (int(part) for part in name.removeprefix("plane").split("_cifar"))
    network = build(name, classes)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth + (
        1 if depth < 8 else 2
    )  # the name counts the convolutions, and so does TAKD
    assert network(images(name)).logits.shape == (2, classes)


@pytest.mark.parametrize(
    ("name", "features", "pools"),
    [
        ("plane2_cifar10", 16 * 8 * 8, 2),
        ("plane6_cifar10", 64 * 4 * 4, 3),
        ("plane6_cifar100", 128 * 8 * 8, 2),  # no pool after its last convolutions
        ("plane8_cifar100", 64, 4),
        ("plane10_cifar10", 128, 4),
        ("plane10_cifar100", 512, 4),
    ],
)
def test_plane_features(name: str, features: int, pools: int) -> None:
    network = build(name)
    assert network(images(name)).features.shape == (2, features)
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == pools
