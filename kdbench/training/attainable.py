"""What a device attains at best: the roofline that a step's speed is held against."""

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from kdbench.cost.speeds import Attainable
from kdbench.spec.runs import Precision
from kdbench.training.precision import arithmetic, plain

ROUNDS = 8
"""The fastest of so many counts: what disturbs a measurement only makes it slower."""
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the matrices."""
MAPS = {"cpu": (16, 256, 8), "cuda": (256, 512, 16)}
"""Images, channels and side of what is convolved: on some processors that is faster than a product."""
COPIED = {"cpu": 2**27, "cuda": 2**31}
"""Bytes: more than the caches hold."""


def attainable(device: torch.device, precision: Precision = "float32") -> Attainable:
    """FLOP/s of a matrix product or a convolution, whichever has more, at a precision; bytes/s of a copy."""
    kind = torch.bfloat16 if plain(precision) == "bf16" else torch.float32
    with arithmetic(precision, device):
        flops = max(_product(device, kind), _convolution(device, kind))
    source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    moved = _fastest(device, lambda: copy.copy_(source))
    return Attainable(flops=flops, bytes=2 * source.nbytes / moved)


def _product(device: torch.device, kind: torch.dtype) -> float:
    """FLOP/s of a product of two square matrices."""
    side = SIDE[device.type]
    a = torch.ones(side, side, dtype=kind, device=device)
    b, out = torch.ones_like(a), torch.empty_like(a)
    return 2 * side**3 / _fastest(device, lambda: torch.mm(a, b, out=out))


@torch.no_grad()
def _convolution(device: torch.device, kind: torch.dtype) -> float:
    """FLOP/s of a 3x3 convolution, the channels last."""
    images, channels, side = MAPS[device.type]
    maps = torch.ones(images, channels, side, side, dtype=kind, device=device)
    x, weight = (
        each.contiguous(memory_format=torch.channels_last)
        for each in (maps, maps.new_ones(channels, channels, 3, 3))
    )
    taken = _fastest(device, lambda: conv2d(x, weight, padding=1))
    return 2 * images * side**2 * 9 * channels**2 / taken


def _fastest(device: torch.device, work: Callable[[], Tensor]) -> float:
    """The seconds of the fastest of a few rounds; one more warms up."""
    return min(seconds(device, work) for _ in range(ROUNDS + 1))


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """How long work takes, until the device has done it."""
    wait(device)
    started = perf_counter()
    work()
    wait(device)
    return perf_counter() - started


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
