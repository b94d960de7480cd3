"""FNKD's networks: counts, shapes, the layout of its code, the initialisation of its framework."""

import pytest
import torch
from torch import nn

from tests.support import networks

PARAMETERS = {"resnet20_v2": 278_132, "resnet56_v2": 861_428, "resnet110_v2": 1_736_372}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return networks.build(name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_as_released_and_weighted_layers_as_named(name: str) -> None:
    with torch.device("meta"):
        network = build(name)
    assert sum(each.numel() for each in network.parameters()) == PARAMETERS[name]
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    shortcuts = [m for m in layers if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(shortcuts) == 2
    assert f"resnet{len(layers) - 2}_v2" == name


def test_images_pass_a_norm_without_scale_and_shift_first() -> None:
    first = next(m for m in build("resnet20_v2").modules() if isinstance(m, nn.BatchNorm2d))
    assert (first.num_features, first.affine, first.eps) == (3, False, 1e-5)


def test_shortcut_takes_the_raw_input_of_its_block() -> None:
    """With the branch silenced a block is its 1x1 convolution, of negative inputs too."""
    block = build("resnet20_v2").get_submodule("body.3.0").eval()
    block.get_submodule("branch.5").register_forward_hook(lambda _, __, out: torch.zeros_like(out))
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(block(x), block.get_submodule("shortcut.0")(x))


@pytest.mark.parametrize("name", ["resnet56_v2", "mobilenetv2_fnkd"])
def test_weights_are_uniform_as_by_mxnets_default(name: str) -> None:
    layers = [m for m in build(name).modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    weights = torch.cat([layer.weight.detach().flatten() for layer in layers])
    assert 0.0699 < weights.abs().max() <= 0.07
    assert weights.std().item() == pytest.approx(0.07 / 3**0.5, rel=0.01)
    assert all(layer.bias is None or not layer.bias.any() for layer in layers)


@pytest.mark.parametrize(("name", "width"), [("resnet20_v2", 64), ("mobilenetv2_fnkd", 1280)])
def test_last_maps_are_of_8_pixels(name: str, width: int) -> None:
    network, sizes = build(name).eval(), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    network(torch.randn(1, 3, 32, 32))
    assert sizes[-1] == (width, 8, 8)


def test_mobilenetv2_halves_twice_and_has_no_bias() -> None:
    network = build("mobilenetv2_fnkd")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.in_channels for m in convolutions if m.stride == (2, 2)] == [192, 576]
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d))
