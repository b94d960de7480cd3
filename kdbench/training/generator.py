"""The generator that torch draws from where it is given none: for initial weights and dropout."""

import torch
from torch import Tensor


def seed_torch(seed: int) -> None:
    """torch.manual_seed, of the generators that are in use.

    Where no GPU has been started, torch's own keeps a traceback of every call for the case that one is:
    4 ms and some memory each time. A context of a GPU has started it.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def random_state(device: torch.device) -> tuple[Tensor, ...]:
    """What torch would draw next, on the CPU and on the device; read without waiting for the device."""
    return torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(device: torch.device, state: tuple[Tensor, ...]) -> None:
    """Go on drawing from a state."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
