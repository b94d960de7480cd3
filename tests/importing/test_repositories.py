"""Networks of other people under the names that their code gives them, in the order of a file of each kind.

torchvision's and timm's are built by the installed packages, and compared by what they put out. Of
repositories only the names are known here, as their code gives them: of RepDistiller (mdistiller has the
same), pytorch-cifar and Tf-KD.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kdbench.catalog import DATASETS
from kdbench.errors import UserError
from kdbench.importing.loading import load
from kdbench.importing.matching import Layers, in_natural_order, layers_of, matchings
from tests.support.networks import build_empty

Rules = Sequence[tuple[str, str]]
RESNET: Rules = (
    (r"body\.0", "conv1"),
    (r"body\.1", "bn1"),
    (r"body\.(\d)\.(\d+)\.branch\.0", r"layer-\1.\2.conv1"),
    (r"body\.(\d)\.(\d+)\.branch\.1", r"layer-\1.\2.bn1"),
    (r"body\.(\d)\.(\d+)\.branch\.3", r"layer-\1.\2.conv2"),
    (r"body\.(\d)\.(\d+)\.branch\.4", r"layer-\1.\2.bn2"),
    (r"body\.(\d)\.(\d+)\.branch\.6", r"layer-\1.\2.conv3"),
    (r"body\.(\d)\.(\d+)\.branch\.7", r"layer-\1.\2.bn3"),
)


def resnet(shortcut: str, classifier: str) -> Rules:
    """A ResNet's rules, of a repository that calls the projection of a block and the last layer so."""
    named = rf"layer-\1.\2.{shortcut}"
    return (*RESNET, (r"body\.(\d)\.(\d+)\.shortcut", named), ("classifier", classifier))


WRN: Rules = (
    (r"body\.0", "conv1"),
    (r"body\.4", "bn1"),
    (r"body\.(\d)\.(\d+)\.activation\.0", r"block\1.layer.\2.bn1"),
    (r"body\.(\d)\.(\d+)\.branch\.0", r"block\1.layer.\2.conv1"),
    (r"body\.(\d)\.(\d+)\.branch\.1", r"block\1.layer.\2.bn2"),
    (r"body\.(\d)\.(\d+)\.branch\.3", r"block\1.layer.\2.conv2"),
    (r"body\.(\d)\.(\d+)\.project", r"block\1.layer.\2.convShortcut"),
    ("classifier", "fc"),
)
VGG8: Rules = tuple(
    (rf"body\.{place}", f"block{block}.{part}")
    for block, first in enumerate((0, 4, 8, 12, 15))
    for part, place in enumerate((first, first + 1))
)
MOBILENET: Rules = (
    (r"body\.0", "conv1.0"),
    (r"body\.1", "conv1.1"),
    (r"body\.10", "conv2.0"),
    (r"body\.11", "conv2.1"),
    (r"body\.(\d)\.(\d+)\.branch\.(\d)", r"blocks.-\1.\2.conv.\3"),
    ("classifier", "classifier.0"),
)
SHUFFLENET: Rules = (
    (r"body\.(0|1)", r"pre.\1"),
    (r"body\.18", "conv5.0"),
    (r"body\.19", "conv5.1"),
    (r"body\.(\d+)\.short\.(\d)", r"unit.\1.shortcut.\2"),
    (r"body\.(\d+)\.(?:long|branch)\.(\d)", r"unit.\1.residual.\2"),
    ("classifier", "fc"),
)
STAGES = (("stage2", 2, 4), ("stage3", 6, 8), ("stage4", 14, 4))
"""Of a ShuffleNetV2: the name, the place of its first unit in our body, its units."""
REPOSITORIES = [
    ("RepDistiller", "resnet8x4", resnet("downsample", "fc")),
    ("RepDistiller", "resnet20", resnet("downsample", "fc")),
    ("RepDistiller", "wrn_16_2", WRN),
    ("RepDistiller", "vgg8", VGG8),
    ("RepDistiller", "mobilenetv2_crd", MOBILENET),
    ("pytorch-cifar", "resnet18", resnet("shortcut", "linear")),
    ("Tf-KD", "resnet50", resnet("shortcut", "linear")),
    ("Tf-KD", "shufflenetv2", SHUFFLENET),
]


def theirs(name: str, rules: Rules) -> str:
    """The name of one of our layers in their code."""
    for ours, pattern in rules:
        called, found = re.subn(rf"^{ours}(?=\.|$)", pattern, name)
        if found:
            called = re.sub(r"layer-(\d)", lambda stage: f"layer{int(stage[1]) - 2}", called)
            called = re.sub(r"blocks\.-(\d)", lambda stage: f"blocks.{int(stage[1]) - 3}", called)
            return re.sub(r"unit\.(\d+)", _unit, called)
    return name


def _unit(found: re.Match[str]) -> str:
    name, first, _ = next(stage for stage in STAGES if int(found[1]) < stage[1] + stage[2])
    return f"{name}.{int(found[1]) - first}"


def made_in_order(names: Iterable[str]) -> list[str]:
    """As their code makes them: the halving unit of Tf-KD's ShuffleNetV2 makes its long branch first."""
    units: dict[str, int] = {}

    def place_of(name: str) -> tuple[int, bool]:
        """Where its unit begins, and whether it is of the short branch; sorting keeps the rest as it is."""
        unit, short, _ = name.rpartition(".shortcut.")
        unit = unit or name.rpartition(".residual.")[0] or name
        return units.setdefault(unit, len(units)), bool(short)

    return sorted(names, key=place_of)


@pytest.mark.parametrize("kept", ["in order", "by name"])
@pytest.mark.parametrize(("repository", "model", "rules"), REPOSITORIES)
def test_names_of_a_repository_find_their_layers(
    repository: str, model: str, rules: Rules, kept: str
) -> None:
    """A file of torch.save keeps the order in which layers are made, one of safetensors that of the names."""
    wanted = layers_of(build_empty(model).state_dict())
    ours = {theirs(name, rules): name for name in wanted}
    assert len(ours) == len(wanted), repository
    order = made_in_order(ours) if repository == "Tf-KD" else list(ours)
    given: Layers = {name: wanted[ours[name]] for name in order}
    ways = matchings(given if kept == "in order" else in_natural_order(given), wanted)
    assert ways == [ours]


def small_stem(network: Any) -> nn.Module:  # noqa: ANN401 - torchvision ships no types
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network  # type: ignore[no-any-return]


Make = Callable[[Any, Any], nn.Module]
"""torchvision's models, and timm -> a network."""
# timm's MobileNetV1 has ReLU6 where kdbench's has ReLU: its weights fit, and give other outputs.
INSTALLED: list[tuple[str, int, Make]] = [
    ("resnet18_224", 64, lambda vision, _: vision.resnet18(num_classes=100)),
    ("resnet50_224", 64, lambda vision, _: vision.resnet50(num_classes=100)),
    ("densenet121_224", 64, lambda vision, _: vision.densenet121(num_classes=100)),
    ("mobilenetv2_224", 64, lambda vision, _: vision.mobilenet_v2(num_classes=100)),
    ("resnet18", 32, lambda vision, _: small_stem(vision.resnet18(num_classes=100))),
    ("resnet18_224", 64, lambda _, timm: timm.create_model("resnet18", num_classes=100)),
    (
        "mobilenetv1_224",
        64,
        lambda _, timm: timm.create_model("mobilenetv1_100", num_classes=100, act_layer="relu"),
    ),
    ("mobilenetv2_224", 64, lambda _, timm: timm.create_model("mobilenetv2_100", num_classes=100)),
    ("resnet50", 32, lambda _, timm: small_stem(timm.create_model("resnet50", num_classes=100))),
]
OTHERS: list[tuple[str, Make]] = [
    ("resnet18", lambda vision, _: vision.resnet18(num_classes=100)),
    ("mobilenetv2", lambda vision, _: vision.mobilenet_v2(num_classes=100)),
    ("shufflenetv2", lambda vision, _: vision.shufflenet_v2_x1_0(num_classes=100)),
    ("densenet121", lambda vision, _: vision.densenet121(num_classes=100)),
]


@pytest.fixture(scope="module")
def packages() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their warnings are not ours
        return import_module("torchvision.models"), import_module("timm")


def trained(network: nn.Module) -> nn.Module:
    """As after training: no norm is the identity, and no two are alike."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return network.eval()


@pytest.mark.slow  # importing torchvision and timm from a cold disk takes up to nine seconds
@pytest.mark.parametrize("ordered", [True, False], ids=["torch.save", "safetensors"])
@pytest.mark.parametrize(("model", "side", "make"), INSTALLED)
def test_network_of_an_installed_package_gives_the_same_outputs(
    packages: tuple[Any, Any], model: str, side: int, make: Make, *, ordered: bool
) -> None:
    torch.manual_seed(0)
    network = trained(make(*packages))
    state = network.state_dict()
    tensors = {name: state[name] for name in (state if ordered else sorted(state))}
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        ways = load(tensors, model, DATASETS["cifar100"], Path("a.pth"), ordered=ordered)
        outputs = [way.network(images).logits for way in ways]
        assert any(torch.allclose(each, network(images), atol=1e-4, rtol=1e-4) for each in outputs)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "make"), OTHERS)
def test_network_for_large_images_is_none_for_small_ones(
    packages: tuple[Any, Any], model: str, make: Make
) -> None:
    """The authors' networks for 32 pixels are others than torchvision's of the same name."""
    state = make(*packages).state_dict()
    with pytest.raises(UserError, match=f"a.pth: no weights for {model}: no place for"):
        load(dict(state), model, DATASETS["cifar100"], Path("a.pth"))
