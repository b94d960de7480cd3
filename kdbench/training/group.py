"""The processes that train one run: which of them this is, and how they exchange tensors.

A batch is cut into the recipe's parts; each process does some of them. What a step needs of all parts is
summed over the processes, so that each of them takes the same step.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from kdbench.data.views import Share

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for another one that is alive: to open its data, to write a checkpoint."""

T = TypeVar("T")


class Part(NamedTuple):
    """A part of a batch."""

    number: int
    """Counted from 0."""
    here: slice
    """Where its images are among those that this process makes of the batch."""
    share: float
    """Of the batch's images; those of all parts sum to 1."""


@dataclass(frozen=True)
class Group:
    """A process among those of a run. One process alone has nobody to speak with."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes what the run gives."""
        return self.rank == 0

    def own(self, parts: int) -> range:
        """The parts that this process does."""
        return range(self.rank * parts // self.size, (self.rank + 1) * parts // self.size)

    def share(self, parts: int = 0) -> Share:
        """Of a batch in so many parts (0: one for each process), the images that this process makes."""
        own = self.own(parts or self.size)

        def mine(images: int) -> slice:
            cuts = cut(images, parts or self.size)
            return slice(cuts[own[0]].start, cuts[own[-1]].stop)

        return mine

    def parts(self, parts: int, images: int) -> Iterator[Part]:
        """The parts that this process does of a batch of so many images; of a short one, some are empty."""
        cuts, own = cut(images, parts), self.own(parts)
        start = cuts[own[0]].start
        for number in own:
            first, last = cuts[number].start, cuts[number].stop
            if first < last:
                yield Part(number, slice(first - start, last - start), (last - first) / images)

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the sum of those that the processes have in its place."""
        if self.size == 1:
            return
        for some, flat in _flat(tensors):
            torch.distributed.all_reduce(flat)
            _spread(flat, some)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the first process's."""
        if self.size == 1:
            return
        for some, flat in _flat(tensors):
            torch.distributed.broadcast(flat, 0)
            _spread(flat, some)

    def broadcast_object(self, value: T) -> T:
        """The first process's value."""
        if self.size == 1:
            return value
        message = [value]
        torch.distributed.broadcast_object_list(message, 0, device=torch.device("cpu"))
        return message[0]


def cut(images: int, parts: int) -> list[slice]:
    """Cut a batch into parts; of a short one, the first have one image more."""
    size, more = divmod(images, parts)
    ends = [number * size + min(number, more) for number in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]


def join(
    rank: int,
    size: int,
    store: TCPStore,
    device: torch.device,
    *,
    own_gpus: bool,
    timeout: timedelta = TIMEOUT,
) -> Group:
    """Wait until all processes of a run are there, and exchange tensors with them from now on.

    Args:
        rank: this process's.
        size: how many they are.
        store: where they meet.
        device: this process's.
        own_gpus: whether each of them has a GPU to itself, and they exchange tensors by NCCL.
        timeout: how long each waits for another one.

    Raises:
        RuntimeError: they do not come, or cannot be reached.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # A group is named by how many this process has begun. One that did not come about counts too, and this
    # process would wait for the others under another name than they for it: torch forgets only whole ones.
    torch.distributed.distributed_c10d._world.group_count = 0  # noqa: SLF001 - torch has no other way
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if own_gpus else "gloo",
        store=store, rank=rank, world_size=size, timeout=timeout,
    )  # fmt: skip
    return Group(rank, size)


def _flat(tensors: Iterable[Tensor]) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Tensors of one type and device, and all of their numbers in one: few messages are faster than many."""

    def kind(tensor: Tensor) -> tuple[str, str]:
        return str(tensor.dtype), str(tensor.device)

    for _, some in groupby(sorted(tensors, key=kind), kind):
        alike = list(some)
        yield alike, torch.cat([tensor.detach().reshape(-1) for tensor in alike])


@torch.no_grad()
def _spread(flat: Tensor, tensors: list[Tensor]) -> None:
    for tensor, part in zip(tensors, torch.split(flat, [each.numel() for each in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))
