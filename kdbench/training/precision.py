"""The arithmetic of a run: float32, tf32 or bf16. What is compared with a paper is evaluated in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.errors import UserError
from kdbench.models.output import Output
from kdbench.spec import Precision


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse what a device cannot do, lest a run's identity says what was not done.

    Raises:
        UserError: tf32, and the device is no GPU.
    """
    if precision == "tf32" and device.type != "cuda":
        cure = "use float32 or bf16"
        raise UserError(f"precision tf32 is arithmetic of GPUs, and the device is {device.type}: {cure}")


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """On a GPU, round what goes into matrix products and convolutions to tf32, or see that nobody does.

    PyTorch's own default is tf32 for convolutions.
    """
    if device.type != "cuda":
        yield
        return
    parts: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            part.allow_tf32 = value


def forward(network: nn.Module, x: Tensor, precision: Precision) -> Output:
    """What a network makes of images; in bf16 with logits and features in float32, before any temperature."""
    if precision != "bf16":
        return network(x)  # type: ignore[no-any-return]
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        out: Output = network(x)
    return out._replace(logits=out.logits.float(), features=out.features.float())
