"""Networks of the catalog, and their layers as the golden files write them."""

from typing import Any

import torch
from torch import Tensor, nn

from kdbench.catalog import MODELS, load

Layer = list[Any]


def build(name: str, classes: int = 100, channels: int = 3) -> nn.Module:
    network = load(MODELS[name].code)(classes, channels)
    assert isinstance(network, nn.Module)
    return network


def build_empty(name: str, classes: int = 100) -> nn.Module:
    """A network whose weights have no values yet: those of large ones take longer to draw than to use."""
    with torch.device("meta"):
        network = build(name, classes)
    return network.to_empty(device="cpu")


def images(name: str, n: int = 2, channels: int = 3) -> Tensor:
    size = MODELS[name].least_size
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def describe(module: nn.Module, output: Tensor) -> Layer | None:
    """A layer as the golden file writes it; None for what the file leaves out."""
    size = list(output.shape[2:])
    match module:
        case nn.Conv2d(in_channels=ins, out_channels=outs, groups=groups):
            shape = [list(module.kernel_size), list(module.stride), list(module.padding)]
            return ["conv", ins, outs, *shape, groups, module.bias is not None, size]
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return ["bn", module.num_features, module.eps, module.momentum, module.affine]
        case nn.Linear():
            return ["linear", module.in_features, module.out_features, module.bias is not None]
        case nn.Dropout():
            return ["dropout", module.p]
        case nn.MaxPool2d() | nn.AvgPool2d() | nn.AdaptiveAvgPool2d():
            return [type(module).__name__, size]
    return None


def leaves_called(network: nn.Module, batch: Tensor) -> list[tuple[nn.Module, Tensor]]:
    """The modules without children in call order, with the output of each."""
    calls: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        calls.append((module, output))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    with torch.no_grad():
        network(batch)
    for hook in hooks:
        hook.remove()
    return calls


def layers_called(network: nn.Module, batch: Tensor) -> list[Layer]:
    """The layers in call order, as the golden files write them."""
    calls = leaves_called(network, batch)
    return [layer for module, output in calls if (layer := describe(module, output))]
