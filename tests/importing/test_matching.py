"""Layers under other people's names: the authors' networks in the order of their code, and a person's map."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kdbench.errors import UserError
from kdbench.importing.matching import Layers, layers_of, mapped, matchings, outputs_of, read_map
from kdbench.models.shufflenetv2 import HalvingUnit
from tests.support.networks import build, build_empty, images, leaves_called
from tests.support.places import GOLDEN
from tests.support.refused import problems_of

REPDISTILLER = json.loads((GOLDEN / "repdistiller_models.json").read_text())["models"]
TFKD = json.loads((GOLDEN / "tfkd_models.json").read_text())["models"]
OURS = {
    "ResNet50": "resnet50_crd",
    "MobileNetV2": "mobilenetv2_crd",
    "ShuffleV1": "shufflenetv1",
    "ShuffleV2": "shufflenetv2_crd",
}
RELEASED = {OURS.get(name, name): facts for name, facts in REPDISTILLER.items()} | TFKD
WITHOUT_ORDER = ("resnet101", "resnext29", "resnext101", "plaincnn")
"""Not in kdbench, not measured, or without its norm of a linear layer."""
DEEPER = {
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet32x4",
    "resnet50",
    "resnet50_crd",
    "wrn_40_1",
    "wrn_40_2",
}
"""As a shallower one of their family, block by block."""
LARGE = {"densenet121", "googlenet"}
KNOWN = [
    pytest.param(name, marks=pytest.mark.slow) if name in DEEPER | LARGE else name
    for name in RELEASED
    if name not in WITHOUT_ORDER
]


def released(facts: dict[str, Any]) -> Layers:
    """The layers of an authors' network in call order, in which their code makes them, by other names."""
    found: Layers = {}
    for number, layer in enumerate(facts["layers_in_call_order"]):
        match layer:
            case ["conv", ins, outs, kernel, _, _, groups, bias, _]:
                shapes = {"weight": (outs, ins // groups, *kernel)} | ({"bias": (outs,)} if bias else {})
            case ["bn", width, *_]:
                parts = ("bias", "running_mean", "running_var", "weight")
                shapes = dict.fromkeys(parts, (width,))
            case ["linear", ins, outs, *_]:
                shapes = {"weight": (outs, ins), "bias": (outs,)}
            case _:
                continue
        found[f"layer{number}"] = tuple(sorted(shapes.items()))
    return found


@pytest.mark.parametrize("name", KNOWN)
def test_network_of_the_authors_is_found_by_order_and_shape(name: str) -> None:
    """Facts measured on RepDistiller's and Tf-KD's code; mdistiller and pytorch-cifar have the same order."""
    network = build_empty(name).eval()
    leaves = [module for module, _ in leaves_called(network, images(name, n=1))]
    names = {module: place for place, module in network.named_modules()}
    called = [names[module] for module in leaves if list(module.parameters())]
    given = released(RELEASED[name])
    (way,) = matchings(given, layers_of(network.state_dict()))
    assert way == dict(zip(given, called, strict=True))


class ReleasedUnit(nn.Module):
    """The halving unit of Tf-KD's ShuffleNetV2, which makes its long branch first and calls it second."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        ours = HalvingUnit(ins, outs)
        self.residual, self.shortcut = ours.long, ours.short


def test_shortcut_that_is_made_after_its_branch_is_found() -> None:
    ours = HalvingUnit(8, 16)
    theirs = ReleasedUnit(8, 16).state_dict()
    (way,) = matchings(layers_of(theirs), layers_of(ours.state_dict()))
    branches = {"residual": "long", "shortcut": "short"}
    assert all(here.partition(".")[0] == branches[there.partition(".")[0]] for there, here in way.items())
    assert all(here.partition(".")[2] == there.partition(".")[2] for there, here in way.items())


def test_classifier_of_other_outputs_is_the_only_difference() -> None:
    ten, twelve = (layers_of(build("resnet8", classes=classes).state_dict()) for classes in (10, 12))
    assert (outputs_of(twelve, ten), outputs_of(ten, ten)) == (12, None)
    assert outputs_of(layers_of(build("resnet14").state_dict()), ten) is None


GIVEN = layers_of({f"{name}.weight": torch.zeros(2, 2) for name in ("a.conv1", "a.conv2", "fc")})
WANTED = layers_of({f"{name}.weight": torch.zeros(2, 2) for name in ("body.0", "body.1", "classifier")})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.txt", "# theirs ours\na.conv1 body.1\na.conv2 = body.0\nfc, classifier\n"),
        ("map.toml", '[a]\nconv1 = "body.1"\nconv2 = "body.0"\n'),
        ("map.toml", 'a.conv1 = "body.1"\n"a.conv2" = "body.0"\nfc = "classifier"\n'),
    ],
    ids=["columns", "tables, the rest by shape", "dotted keys"],
)
def test_map_says_which_layer_is_which(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = mapped(read_map(tmp_path / name), tmp_path / name, GIVEN, WANTED)
    assert found == {"a.conv1": "body.1", "a.conv2": "body.0", "fc": "classifier"}


def test_map_of_what_several_names_begin_with(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("a = body\n")
    found = mapped(read_map(tmp_path / "map"), tmp_path / "map", GIVEN, WANTED)
    assert found == {"a.conv1": "body.0", "a.conv2": "body.1", "fc": "classifier"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.conv3 body.0", "unknown layer of the file of weights 'a.conv3'. Did you mean"),
        ("a.conv1 body.7", "unknown layer of the network 'body.7'. Did you mean"),
        ("a.conv1 body.0 x", ":1: 'a.conv1 body.0 x': write two names, THEIRS = OURS"),
        ("fc body.0\nfc body.1", "'fc' in the file of weights stands on two lines"),
        ("fc body.0\na.conv1 body.0", "'body.0' of kdbench stands on two lines"),
        ("a classifier", "a = classifier are not alike: 2 and 1 layers"),
        ("", "maps nothing; write a line THEIRS = OURS for each layer"),
    ],
    ids=["theirs", "ours", "three words", "theirs twice", "ours twice", "not alike", "empty"],
)
def test_mistake_in_a_map_is_one_sentence(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "map.txt"
    path.write_text(text)
    (found,) = problems_of(lambda: mapped(read_map(path), path, GIVEN, WANTED))
    assert found.startswith(str(path))
    assert problem in found


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("map.toml", b"a = ", "not valid TOML"),
        ("map.txt", b"\xff\xfe", "no text in UTF-8"),
        ("missing.txt", None, "cannot be read: No such file"),
    ],
)
def test_map_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (found,) = problems_of(read_map, tmp_path / name)
    assert problem in found


def test_map_whose_rest_does_not_fit_says_what_is_left(tmp_path: Path) -> None:
    other = layers_of({"fc.weight": torch.zeros(3, 2), "a.conv1.weight": torch.zeros(2, 2)})
    wanted = {name: WANTED[name] for name in ("body.0", "classifier")}
    with pytest.raises(UserError, match=r"no place for 1 layers, of the shapes of fc \(weight 3x2\)"):
        mapped({"a.conv1": "body.0"}, tmp_path / "map", other, wanted)
