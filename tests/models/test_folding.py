"""Folded networks: the same outputs to rounding, and fewer layers."""

import pytest
import torch
from torch import Tensor, nn

from kdbench import catalog
from kdbench.models.folding import fold
from tests.support.marks import slow_but

SHAPES = {
    "digits_mlp": (8, 1),
    "digits_cnn": (8, 1),
    "mlp_784_20_20": (28, 1),
    "mlp_784_1200_1200": (28, 1),
    "mlp_784_1200_1200_dropout": (28, 1),
    "mlp_784_800_800": (28, 1),
    "mlp_784_1024_1024": (28, 1),
    "mlp_784_1024_1024_dropout": (28, 1),
    "mlp_49_20_20": (7, 1),
    "logistic": (1, 50),
}
"""Side and channels of the images of networks for one size."""
FAST = {
    *("digits_mlp", "digits_cnn", "logistic", "mlp_49_20_20", "blank", "plaincnn", "plane6_cifar100"),
    *("resnet8", "resnet20_v2", "vgg8", "wrn_16_1", "shufflenetv1", "shufflenetv2", "mobilenetv2"),
}
"""One of each kind of layers in a row; the others are larger, or are put together of the same."""


def trained(name: str) -> tuple[nn.Module, Tensor]:
    """A network whose norms have statistics and scales of their own, and images for it."""
    entry, generator = catalog.MODELS[name], torch.Generator().manual_seed(0)
    size, channels = SHAPES.get(name, (32, 3))
    torch.manual_seed(0)
    network = catalog.load(entry.code)(10, channels).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            draw = torch.rand(norm.num_features, generator=generator)
            norm.running_mean.copy_(draw - 0.5)  # type: ignore[union-attr]
            norm.running_var.copy_(draw + 0.5)  # type: ignore[union-attr]
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
                nn.init.uniform_(norm.bias, -0.5, 0.5, generator=generator)
    return network, torch.randn(1, channels, size, size, generator=generator)


def norms(network: nn.Module) -> int:
    return sum(isinstance(each, nn.BatchNorm2d) for each in network.modules())


@torch.no_grad()
@pytest.mark.parametrize("name", slow_but(FAST, catalog.MODELS))
def test_folded_network_is_the_same_to_rounding(name: str) -> None:
    """In double precision, so that a wrong fold cannot hide behind rounding."""
    network, images = trained(name)
    network, images = network.double(), images.double()
    before, after = network(images), fold(network)(images)
    scale = float(before.logits.abs().max())
    assert (before.logits - after.logits).abs().max() <= 1e-11 * scale
    assert (before.features - after.features).abs().max() <= 1e-11 * float(before.features.abs().max())


@pytest.mark.parametrize(
    "name", slow_but(["shufflenetv2"], ["resnet18", "resnet50", "mobilenetv2", "shufflenetv2", "googlenet"])
)
def test_every_norm_behind_a_convolution_is_folded(name: str) -> None:
    assert norms(fold(trained(name)[0])) == 0


@pytest.mark.parametrize("name", slow_but(["resnet20_v2"], ["resnet20_v2", "resnet56_v2", "resnet110_v2"]))
def test_norms_of_pre_activated_networks_stay_where_no_convolution_is_before(name: str) -> None:
    network, _ = trained(name)
    between = sum(isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3) for each in network.modules())
    before = norms(network)
    assert norms(fold(network)) == before - (between - 1) // 2


@torch.no_grad()
def test_norm_whose_convolution_is_watched_stays() -> None:
    """A hook sees what the convolution alone gives."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).eval()
    network[0].register_forward_hook(lambda *_: None)
    assert norms(fold(network)) == 1
