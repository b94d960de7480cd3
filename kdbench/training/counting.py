"""The arithmetic and the traffic of a network, counted as it runs: on the meta device, nothing is computed.

Every operation passes a dispatch mode on its way, those of the backward pass included, where the gradient
of a grouped convolution costs as much as its forward pass does, by the input and by the weights each.
(`torch.utils.flop_counter` of torch 2.15 counts it `groups` times by the weights.)
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from msgspec import json
from torch import Tensor, nn

from kdbench import catalog
from kdbench.cost.counts import TABLE, Counts, Entry, key
from kdbench.models.build import build_network
from kdbench.store.files import write
from kdbench.training.calls import Call, CallWatch, tensors_of
from kdbench.training.memory import kept_for_backward

if TYPE_CHECKING:
    from kdbench.models.output import Output


aten = torch.ops.aten
Arguments = tuple[Any, ...]


def _convolution(arguments: Arguments, out: Any) -> float:  # noqa: ANN401 - what an operation returns
    """2 · outputs · the inputs that each of them sees; of a transposed one, the other way round."""
    x, weight, transposed = arguments[0], arguments[1], arguments[6]
    return float(2 * (x if transposed else out).numel() * weight[0].numel())


def _convolution_backward(arguments: Arguments, _: Any) -> float:  # noqa: ANN401
    """As many as forward for each of the gradients by the input and by the weights that is asked for."""
    slope, x, weight, transposed, asked = (arguments[place] for place in (0, 1, 2, 7, 10))
    return float(2 * (x if transposed else slope).numel() * weight[0].numel() * sum(asked[:2]))


def _product(arguments: Arguments, out: Tensor) -> float:
    """2 · outputs · the length of the sum."""
    return float(2 * out.numel() * arguments[-2].shape[-1])


FLOPS: Mapping[Any, Callable[[Arguments, Any], float]] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.mm.default: _product,
    aten.addmm.default: _product,
    aten.bmm.default: _product,
    aten.baddbmm.default: _product,
}


class Counter(CallWatch):
    """Sums up the FLOPs and bytes of convolutions and matrix products while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0.0

    def see(self, call: Call) -> None:
        """Add one."""
        if call.function in FLOPS:
            self.flops += FLOPS[call.function](call.args, call.out)
            self.bytes += sum(each.nbytes for each in tensors_of((call.args, call.out)))


def count(network: nn.Module, images: Tensor) -> tuple[Counter, Counter, float]:
    """One step of a network in training mode on images (N, C, H, W).

    Returns:
        The counts of the forward pass, of the backward pass (to the weights, not to the images), and the
        bytes kept in between: activations, each once, without weights and statistics.
    """
    forward, backward = Counter(), Counter()
    with forward, kept_for_backward(network) as kept:
        output: Output = network.train()(images)
    with backward:
        output.logits.sum().backward()  # type: ignore[no-untyped-call]
    return forward, backward, float(sum(part.nbytes() for part in kept.values()))


def counts_of(model: str, classes: int, channels: int, size: int) -> Counts:
    """The counts of a model of the catalog: from those of three images and of two."""
    # Of a batch, all that is read or kept is a + n b: weights once (a), images n times (b). Two batches give
    # both; one of a single image would not do, as batch norm refuses it where the map is one pixel.
    with torch.device("meta"):
        network = build_network(model, classes, channels)
        forward2, backward2, kept2 = count(network, torch.empty(2, channels, size, size))
        forward3, backward3, kept3 = count(network, torch.empty(3, channels, size, size))
    forward_bytes, backward_bytes = forward3.bytes - forward2.bytes, backward3.bytes - backward2.bytes
    return Counts(
        parameters=float(sum(each.numel() for each in network.parameters())),
        forward=forward3.flops - forward2.flops,
        backward=backward3.flops - backward2.flops,
        forward_bytes=forward_bytes,
        backward_bytes=backward_bytes,
        batch_forward_bytes=forward2.bytes - 2 * forward_bytes,
        batch_backward_bytes=backward2.bytes - 2 * backward_bytes,
        kept=kept3 - kept2,
    )


def entry(model: str, channels: int, size: int) -> Entry:
    """The counts of a model as a function of the number of classes, from two such numbers."""
    few, many = (counts_of(model, classes, channels, size) for classes in (10, 110))
    per_class = Counts(
        **{name: (getattr(many, name) - getattr(few, name)) / 100 for name in few.__struct_fields__}
    )
    return Entry(few.plus(per_class, -10), per_class)


def shapes(model: str) -> list[tuple[int, int]]:
    """(channels, side) of the images that a model is counted on: 224, or all small ones."""
    if model.endswith("_224"):
        return [(3, 224)]
    least = catalog.MODELS[model].least_size
    data = {(each.channels, each.size) for each in catalog.DATASETS.values() if not each.varied}
    return sorted(shape for shape in data if shape[1] >= least)


def all_entries() -> dict[str, Entry]:
    """The table: kdbench's own models on the images of its own data sets, where they take such images."""
    found = {}
    for model in catalog.MODELS:
        for channels, size in shapes(model):
            with suppress(RuntimeError):  # a network for one size only
                found[key(model, channels, size)] = entry(model, channels, size)
    return found


def write_table(path: Path = TABLE) -> None:
    """Count everything and write the table."""
    lines = [f'"{name}": {json.encode(each).decode()}' for name, each in all_entries().items()]
    write(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


if __name__ == "__main__":
    write_table()
