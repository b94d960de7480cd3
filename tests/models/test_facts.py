"""Facts of the authors' networks that parameters and layer lists do not show."""

import torch
from torch import nn

from kdbench.models.densenet import densenet121
from kdbench.models.googlenet import googlenet
from kdbench.models.mobilenetv2 import InvertedResidual, mobilenetv2
from kdbench.models.plaincnn import plaincnn
from kdbench.models.resnet import Residual
from kdbench.models.shufflenetv2 import ShuffleUnit, shufflenetv2

LETTERS = {
    nn.Conv2d: "c",
    nn.Linear: "l",
    nn.BatchNorm1d: "b",
    nn.BatchNorm2d: "b",
    nn.ReLU: "r",
    nn.ReLU6: "6",
    nn.MaxPool2d: "m",
    nn.AvgPool2d: "a",
    nn.AdaptiveAvgPool2d: "p",
    nn.Dropout: "d",
}


def spell(network: nn.Module) -> str:
    """A letter for each layer in call order."""
    letters: list[str] = []
    for module in network.modules():
        if letter := LETTERS.get(type(module)):
            module.register_forward_hook(lambda *_, letter=letter: letters.append(letter))
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32))
    return "".join(letters)


def test_mobilenetv2_activations_as_released() -> None:
    assert spell(mobilenetv2(10, 3)) == "cb6" + 17 * "cb6cb6cb" + "cb6" + "pc"


def test_shufflenetv2_activations_as_released() -> None:
    unit = "cbr" + "cbcbr"
    stages = ("cbcbr" + unit + n * unit for n in (3, 7, 3))
    assert spell(shufflenetv2(10, 3)) == "cb" + "".join(stages) + "cbr" + "pl"


def test_googlenet_activations_as_released() -> None:
    inception = "cbr" + "cbrcbr" + "cbrcbrcbr" + "mcbr"
    assert (
        spell(googlenet(10, 3)) == "cbr" + 2 * inception + "m" + 5 * inception + "m" + 2 * inception + "pdl"
    )


def test_plaincnn_pools_before_the_activation() -> None:
    assert spell(plaincnn(10, 3)) == 3 * "cbmr" + "lbrd" + "l"


def test_densenet_activations_as_released() -> None:
    blocks = (n * "brcbrc" for n in (6, 12, 24, 16))
    assert spell(densenet121(10, 3)) == "c" + "bca".join(blocks) + "br" + "pl"


def test_densenet_transition_passes_negative_values() -> None:
    network = densenet121(10, 3)
    transitions = [m for m in network.modules() if isinstance(m, nn.Sequential) and _ends_in_pool(m)]
    assert len(transitions) == 3
    norm, conv, pool = transitions[0]
    x = torch.randn(2, 256, 4, 4, generator=torch.Generator().manual_seed(0))
    released = pool(conv(norm(x)))
    torch.testing.assert_close(transitions[0](x), released)
    assert not torch.allclose(released, pool(conv(norm(x).relu())))


def _ends_in_pool(module: nn.Sequential) -> bool:
    return len(module) == 3 and isinstance(module[-1], nn.AvgPool2d)


def test_googlenet_norm_has_its_width_as_eps() -> None:
    norms = [m for m in googlenet(10, 3).modules() if isinstance(m, nn.BatchNorm2d) and m.eps != 1e-5]
    assert [(m.num_features, m.eps) for m in norms] == [
        (n, n) for n in (32, 96, 48, 64, 64, 64, 128, 128, 128)
    ]
    x = torch.tensor([-2.0, 2.0]).reshape(2, 1, 1, 1).expand(2, 32, 1, 1)  # mean 0, variance 4
    torch.testing.assert_close(norms[0](x), x / (4 + 32) ** 0.5)


def test_mobilenetv2_block_adds_its_input_if_shapes_agree() -> None:
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(_silenced(InvertedResidual(8, 8, 6, 1))(x), x)
    assert torch.equal(_silenced(InvertedResidual(8, 8, 6, 2))(x), torch.zeros(2, 8, 3, 3))
    assert torch.equal(_silenced(InvertedResidual(8, 16, 6, 1))(x), torch.zeros(2, 16, 6, 6))


def _silenced(block: InvertedResidual) -> InvertedResidual:
    norm = block.branch[-1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    return block


def test_mobilenetv2_adds_ten_times() -> None:
    blocks = [m for m in mobilenetv2(10, 3).modules() if isinstance(m, InvertedResidual)]
    assert [block.adds for block in blocks] == [0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 0]


def test_shuffle_unit_interleaves_the_untouched_half() -> None:
    unit = ShuffleUnit(6)
    x = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :3])
    torch.testing.assert_close(y[:, 1::2], unit.branch(x[:, 3:]))


def test_residual_activation_follows_the_sum() -> None:
    block = Residual(nn.Sequential(nn.Identity()), 2, 2, 1)
    assert torch.equal(block(torch.tensor([[-1.0, 3.0]])), torch.tensor([[0.0, 6.0]]))
