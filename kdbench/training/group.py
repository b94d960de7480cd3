"""The ranks that train one run, over torch.distributed: which of them this is, and what they exchange.

A batch is cut into the recipe's ghost batches; each rank does some of them. What a step needs of all of them
is summed over the ranks, so that each takes the same step. All ranks run the same loop over the same tasks;
the first one alone writes and decides, and broadcasts what it decided.
"""

import atexit
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, groupby, pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.distributed import Store  # type: ignore[attr-defined]

from kdbench.data.views import Share, whole
from kdbench.errors import DiedError, UserError
from kdbench.workers.launch import Launched

TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for another one that is alive: to open its data, to write a checkpoint."""
JOIN_TIMEOUT = timedelta(minutes=10)
"""How long ranks look for each other: nodes start at different times."""
CAUSE = "cause"
"""The key under which the first rank to leave a group says why."""

T = TypeVar("T")


class Part(NamedTuple):
    """A ghost batch: a part of a batch."""

    number: int
    """Counted from 0."""
    here: slice
    """Where its images are among those that this rank makes of the batch."""
    weight: float
    """Its images, of those of the batch; the weights of all parts sum to 1."""


@dataclass
class Group:
    """A rank among those of a run. One process alone exchanges nothing."""

    rank: int = 0
    size: int = 1
    store: Store | None = None
    """Where ranks leave messages, also when they cannot exchange tensors any more."""
    agreed: Exception | None = None
    """The last error that all ranks have raised together."""

    @property
    def is_main(self) -> bool:
        """Whether this rank decides, and writes what the run gives."""
        return self.rank == 0

    def own(self, parts: int) -> range:
        """The parts that this rank does."""
        return range(self.rank * parts // self.size, (self.rank + 1) * parts // self.size)

    def images_of(self, parts: int) -> Share:
        """Of a batch in so many parts (0: one for each rank), the images that this rank makes."""
        own = self.own(parts or self.size)
        if self.size == 1:
            return whole

        def here(images: int) -> slice:
            cuts = cut(images, parts or self.size)
            return slice(cuts[own[0]].start, cuts[own[-1]].stop)

        return here

    def batches_in_turn(self) -> Share:
        """Of the batches of a pass, whole ones in turn: a rank's are those that one process would make."""
        if self.size == 1:
            return whole
        numbers = count()

        def here(images: int) -> slice:
            return slice(0, images if next(numbers) % self.size == self.rank else 0)

        return here

    def parts(self, parts: int, images: int) -> Iterator[Part]:
        """The parts that this rank does of a batch of so many images; of a short one, some are empty."""
        cuts, own = cut(images, parts), self.own(parts)
        start = cuts[own[0]].start
        for number in own:
            first, last = cuts[number].start, cuts[number].stop
            if first < last:
                yield Part(number, slice(first - start, last - start), (last - first) / images)

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the sum of those that the ranks have in its place.

        On the CPU it is added up by rank, as one process adds up the parts of a batch: the same bits.
        """
        if self.size == 1:
            return
        for some, flat in _flat(tensors):
            with _exchange():
                if flat.is_cuda:
                    torch.distributed.all_reduce(flat)
                else:
                    _sum_by_rank(flat, self.size)
            _spread(flat, some)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the first rank's."""
        if self.size == 1:
            return
        for some, flat in _flat(tensors):
            with _exchange():
                torch.distributed.broadcast(flat, 0)
            _spread(flat, some)

    def broadcast_object(self, value: T) -> T:
        """The first rank's value."""
        if self.size == 1:
            return value
        message = [value]
        with _exchange():
            torch.distributed.broadcast_object_list(message, 0, device=torch.device("cpu"))
        return message[0]

    @contextmanager
    def agree(self) -> Iterator[None]:
        """What each rank does for itself, without the others: either all have done it, or all raise.

        So a failure there leaves the group whole, for the next run. Example: rank 1 cannot read the data. It
        raises its UserError, and the others ChildProcessError("process 2 of the run failed: UserError: ...").
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:  # noqa: BLE001 - whatever it is, the others must know
            error = raised
        if self.size > 1:
            # each rank comes here, whether it failed or not: this is also where they wait for each other
            causes: list[str | None] = [None] * self.size
            with _exchange():
                torch.distributed.all_gather_object(causes, error and _line(error))  # type: ignore[misc]
            failed = [_of_rank(rank, cause) for rank, cause in enumerate(causes) if cause]
            error = error or next((ChildProcessError(cause) for cause in failed), None)
        if error is not None:
            self.agreed = error
            raise error

    def is_whole(self, error: Exception) -> bool:
        """Whether the ranks can go on with each other after an error: all of them have raised."""
        return self.size == 1 or error is self.agreed

    def leave(self, error: Exception) -> str:
        """Say why this rank leaves a group that is not whole any more.

        Returns:
            The cause of the first rank to leave: a line, then its traceback; "" where it left none.
        """
        with suppress(RuntimeError):  # the store is gone, with who held it
            if self.store is None:
                return ""
            # compare_set: the first rank's cause stays; those that lost it afterwards (DiedError) have none
            if not isinstance(error, DiedError):
                cause = f"{_of_rank(self.rank, _line(error))}\n{''.join(traceback.format_exception(error))}"
                self.store.compare_set(CAUSE, "", cause)
            if self.store.check([CAUSE]):
                return str(self.store.get(CAUSE).decode())
        return ""


def join(launched: Launched | None, device: torch.device) -> Group:
    """Wait until all ranks are there, found by torchrun's variables (env://); None: this process is alone.

    With a GPU for each rank tensors on GPUs are exchanged by NCCL, all others by gloo. Nodes are taken to be
    alike.

    Raises:
        UserError: they do not find each other.
    """
    if launched is None:
        return Group()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    own_gpus = device.type == "cuda" and torch.cuda.device_count() >= launched.local_world_size
    try:
        store, rank, size = next(torch.distributed.rendezvous("env://", timeout=JOIN_TIMEOUT))  # type: ignore[attr-defined]
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if own_gpus else "gloo",
            store=store, rank=rank, world_size=size, timeout=TIMEOUT,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {launched.rank + 1} of {launched.world_size} does not find the others: {_line(error)}"
        ) from error
    atexit.register(_end)
    return Group(rank, size, store)


def _end() -> None:
    """Let go of the other ranks at the end of this process.

    Threads of gloo that outlive the interpreter abort it, after all is done: "terminate called without an
    active exception".
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def _exchange() -> Iterator[None]:
    """What torch raises when another rank is gone, as DiedError."""
    try:
        yield
    except RuntimeError as error:
        # of gloo's `[pair.cc:545] Read error [HOST]: reset by peer. This is typically ...` the middle
        cause = re.sub(r"^\[\S+\] ", "", str(error)).partition(". This is typically")[0]
        raise DiedError(f"the processes of the run lost each other: {cause.splitlines()[0]}") from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _of_rank(rank: int, cause: str) -> str:
    return f"process {rank + 1} of the run failed: {cause}"


def _sum_by_rank(flat: Tensor, size: int) -> None:
    # all_reduce would add up in an order of its own (a ring, a tree): other bits than those of one process
    every = [torch.empty_like(flat) for _ in range(size)]
    torch.distributed.all_gather(every, flat)
    flat.copy_(every[0])
    for other in every[1:]:
        flat += other


def cut(images: int, parts: int) -> list[slice]:
    """Cut a batch into parts; of a short one, the first have one image more."""
    size, more = divmod(images, parts)
    ends = [number * size + min(number, more) for number in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]


def _flat(tensors: Iterable[Tensor]) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Tensors of one type and device, and all of their numbers in one: few messages are faster than many."""

    def kind(tensor: Tensor) -> tuple[str, str]:
        return str(tensor.dtype), str(tensor.device)

    # all ranks have the same tensors, so all sort and join them the same way
    for _, some in groupby(sorted(tensors, key=kind), kind):
        alike = list(some)
        yield alike, torch.cat([tensor.detach().reshape(-1) for tensor in alike])


@torch.no_grad()
def _spread(flat: Tensor, tensors: list[Tensor]) -> None:
    for tensor, part in zip(tensors, torch.split(flat, [each.numel() for each in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))
