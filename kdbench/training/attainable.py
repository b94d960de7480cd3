"""What a device attains at best: the floor that a step's speed is held against."""

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor

from kdbench.cost.speeds import Attainable
from kdbench.spec import Precision
from kdbench.training.precision import arithmetic, plain

ROUNDS = 8
"""The fastest of so many counts: what disturbs a measurement only makes it slower."""
SIDE = {"cpu": 1024, "cuda": 8192}
COPIED = {"cpu": 2**27, "cuda": 2**31}
"""Bytes: more than the caches hold."""


def attainable(device: torch.device, precision: Precision = "float32") -> Attainable:
    """FLOP/s of a product of two square matrices at a precision, and bytes/s of a copy."""
    kind = torch.bfloat16 if plain(precision) == "bf16" else torch.float32
    side = SIDE.get(device.type, SIDE["cpu"])
    a = torch.ones(side, side, dtype=kind, device=device)
    b, out = torch.ones_like(a), torch.empty_like(a)
    source = torch.ones(COPIED.get(device.type, COPIED["cpu"]), dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    with arithmetic(precision, device):
        product = _fastest(device, lambda: torch.mm(a, b, out=out))
    moved = _fastest(device, lambda: copy.copy_(source))
    return Attainable(flops=2 * side**3 / product, bytes=2 * source.nbytes / moved)


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
