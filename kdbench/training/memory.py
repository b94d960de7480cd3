"""How much memory a run has needed at most, and how much some will need beside each other."""

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks

from kdbench.training.calls import storage_of

GIB = 2**30


class Need(NamedTuple):
    """What a network takes, in bytes."""

    weights: int
    activations: float
    """Kept for the backward pass, of each image."""


def need_of(network: nn.Module, images: Tensor) -> Need:
    """What a network takes that is trained on such images (N, C, H, W): its forward pass is watched."""
    with kept_for_backward(network) as kept:
        network.train()(images)
    weights = sum(each.numel() * each.element_size() for each in network.parameters())
    return Need(weights, sum(storage.nbytes() for storage in kept.values()) / len(images))


@contextmanager
def kept_for_backward(network: nn.Module) -> Iterator[dict[int, UntypedStorage]]:
    """What autograd keeps meanwhile for the backward pass, by storage: each once, the network's own left out.

    Storages are held until the block ends, so that none gets the handle of one before it.
    """
    own = {storage_of(each) for each in (*network.parameters(), *network.buffers())}
    kept: dict[int, UntypedStorage] = {}

    def keep(saved: Tensor) -> Tensor:
        if storage_of(saved) not in own:
            kept[storage_of(saved)] = saved.untyped_storage()
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        yield kept


def in_use(device: torch.device) -> float:
    """Bytes that are taken already, among them torch itself."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return float(_status("VmRSS:") or 0)


def _status(key: str) -> int | None:
    """A line of /proc/self/status, in bytes."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return None


def reset_peak(device: torch.device, *, give_back: bool = True) -> None:
    """Start counting anew, where the system can.

    Args:
        device: whose memory it is.
        give_back: what the C library keeps of earlier runs, which is not this one's. It has to be taken
            again, page by page: 0.2 to 0.4 s for MobileNetV2.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        if give_back:
            give_back_kept(device)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def give_back_kept(device: torch.device) -> None:
    """Have the C library give back what it keeps of what was freed, where it can: it is not in use.

    On a GPU nothing is done: what torch keeps there is not counted.
    """
    if device.type != "cuda" and sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def peak(device: torch.device) -> int:
    """Bytes at the peak since the last reset: of the device on a GPU, of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    high_water = _status("VmHWM:")
    if high_water is not None:
        return high_water
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
