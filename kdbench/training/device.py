"""The device that benchmark.toml chooses for training, as torch has it."""

from collections.abc import Iterable, Iterator

import torch

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.spec.runs import Precision
from kdbench.training.precision import check_precision


def chosen_device(machine: Machine) -> torch.device:
    """The device that benchmark.toml chooses; on `cuda` one of them, by its number.

    Raises:
        UserError: it is not there.
    """
    wanted = machine.local.device
    name = wanted
    if wanted == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"benchmark.toml, [local], device = {wanted!r}: {reason}; valid: auto, cpu, cuda, cuda:1, ..."
        ) from error


def check_device(machine: Machine, precisions: Iterable[Precision]) -> Iterator[Precision]:
    """The precisions at which the device that benchmark.toml chooses can train: all of these.

    Raises:
        UserError: it is not there, or has no such arithmetic.
    """
    device = chosen_device(machine)
    for precision in precisions:
        check_precision(precision, device)
        yield precision
