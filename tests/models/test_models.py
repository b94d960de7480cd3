"""The networks against facts measured on the authors' code (golden/tfkd_models.json)."""

import json
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from kdbench.catalog import MODELS
from kdbench.models.output import Output
from tests.support.marks import slow_but
from tests.support.networks import Layer, build, build_empty, images, layers_called
from tests.support.places import GOLDEN

FACTS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "tfkd_models.json").read_text())["models"]
ORDERED = [name for name, facts in FACTS.items() if facts["layers_in_call_order"]]
FEATURES = {
    "resnet18": 512,
    "resnet50": 2048,
    "resnext29": 1024,
    "resnext101": 1024,
    "densenet121": 1024,
    "googlenet": 1024,
    "mobilenetv2": 1280,
    "shufflenetv2": 1024,
    "plaincnn": 128,
    "resnet20_v2": 64,
    "resnet56_v2": 64,
    "resnet110_v2": 64,
    "mobilenetv2_fnkd": 1280,
    "mlp_784_20_20": 20,
    "mlp_784_1200_1200": 1200,
    "mlp_784_1200_1200_dropout": 1200,
    "mlp_784_800_800": 800,
    "mlp_784_1024_1024": 1024,
    "mlp_784_1024_1024_dropout": 1024,
    "mlp_49_20_20": 20,
    "logistic": 1,
    "digits_mlp": 32,
    "digits_cnn": 128,
    "blank": 1,  # as many as channels
}
LARGE = {"resnet18", "resnet50", "resnext29", "densenet121", "googlenet", "resnet56_v2", "resnet110_v2"}
SMALL = slow_but(set(FEATURES) - LARGE, sorted(set(FEATURES) - {"resnext101"}))
"""All but resnext101: over 100 million parameters, and no code that resnext29 has not."""

GLOBAL_POOL: Layer = ["AdaptiveAvgPool2d", [1, 1]]
UNLISTED: dict[str, list[tuple[int, Layer]]] = {
    "resnet18": [(42, GLOBAL_POOL)],
    "resnet50": [(108, GLOBAL_POOL)],
    "mobilenetv2": [(106, GLOBAL_POOL)],
    "shufflenetv2": [(112, GLOBAL_POOL)],
    "plaincnn": [
        (2, ["MaxPool2d", [16, 16]]),
        (4, ["MaxPool2d", [8, 8]]),
        (6, ["MaxPool2d", [4, 4]]),
        (7, ["bn", 128, 1e-5, 0.1, True]),
        (7, ["dropout", 0.5]),
    ],
}
"""What the golden file could not see, before which of its entries: calls that are functions in the authors'
code (model/*.py), modules in ours, and the one BatchNorm1d."""
DISCARDED = {"resnet18": (10, 21), "resnet50": (22, 49)}
"""The AvgPool2d calls whose results the authors' forward computes and does not return."""


def released_layers(name: str) -> list[Layer]:
    layers: list[Layer] = []
    for index, layer in enumerate(FACTS[name]["layers_in_call_order"]):
        layers += [extra for at, extra in UNLISTED.get(name, ()) if at == index]
        if index not in DISCARDED.get(name, ()):
            layers.append(layer)
    return layers


@pytest.mark.parametrize("name", ORDERED)
def test_layers_in_call_order_as_released(name: str) -> None:
    network = build_empty(name, FACTS[name]["classes"]).eval()
    assert layers_called(network, images(name, n=1)) == released_layers(name)


@pytest.mark.parametrize("name", FACTS)
def test_parameters_as_released(name: str) -> None:
    parameters = list(build_empty(name, FACTS[name]["classes"]).parameters())
    shapes = Counter("x".join(map(str, p.shape)) for p in parameters)
    assert shapes == FACTS[name]["parameter_shapes"]
    assert sum(p.numel() for p in parameters) == FACTS[name]["parameters"]


def test_every_released_network_has_golden_facts() -> None:
    elsewhere = {name for name in MODELS if name.endswith(("_v2", "_fnkd"))}  # test_fnkd.py
    ours = {name for name in MODELS if not name.endswith("_224")}  # test_imagenet.py
    ours -= {name for name, entry in MODELS.items() if "CRD's" in entry.about or "TAKD's" in entry.about}
    own = {"resnext101", "digits_mlp", "digits_cnn", "blank", "logistic"}
    own |= {name for name in MODELS if name.startswith("mlp_")}
    assert {*FACTS, *elsewhere, *own} == set(FEATURES) == ours


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_the_classifier_of_the_features(name: str) -> None:
    network = build(name, classes=20, channels=1).train()  # in training dropout must lie below the features
    output = network(images(name, channels=1))
    assert isinstance(output, Output)
    assert output.logits.shape == (2, 20)
    assert output.features.shape == (2, FEATURES[name])
    classifier = network.get_submodule("classifier")
    torch.testing.assert_close(classifier(output.features), output.logits, rtol=0, atol=0)
    assert output.weight is not None
    b = output.weight.new_zeros(20) if output.bias is None else output.bias
    torch.testing.assert_close(output.features @ output.weight.T + b, output.logits)


@pytest.mark.parametrize("name", SMALL)
def test_logits_of_a_copy_in_double_and_channels_last(name: str) -> None:
    network = build(name).eval()
    twin = deepcopy(build_empty(name))
    twin.load_state_dict(network.state_dict())
    twin = twin.eval().double().to(memory_format=torch.channels_last)
    batch = images(name, n=1)
    with torch.no_grad():
        single = network(batch).logits
        double = twin(batch.double().contiguous(memory_format=torch.channels_last)).logits
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "depth"), [("resnext29", 3), ("resnext101", 11)])
def test_resnext_convolutions_by_stage(name: str, depth: int) -> None:
    with torch.device("meta"):
        network = build(name)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    grouped = [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in convs if m.groups == 8]
    stages = [[(512 * 2**s, 3, 2 if s else 1)] + [(512 * 2**s, 3, 1)] * (depth - 1) for s in range(3)]
    assert grouped == [conv for stage in stages for conv in stage]
    assert len(convs) - 3 + 1 == int(name.removeprefix("resnext"))  # less three shortcuts, and the classifier


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_digits_networks_learn_a_batch(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, classes=10, channels=1)
    batch, labels = images(name, n=16, channels=1), torch.arange(16) % 10
    loss = torch.tensor(torch.inf)
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(batch).logits, labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.sub_(gradient, alpha=0.3)
    assert loss < 0.1  # of ln 10 = 2.3 at chance
