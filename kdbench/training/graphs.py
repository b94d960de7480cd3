"""What a GPU does in a step, as one CUDA graph: launched at once, instead of operator by operator.

A step of a small network is some hundreds of short kernels, and Python needs longer to launch them than a GPU
to do them. A CUDA graph is the list of these kernels with the places of their tensors: it is captured once,
and then launched as a whole on whatever lies in these places. So a batch is copied to where the graph reads.

A student's whole step is one graph: forward and backward pass, clipping, the optimizer, the mean of the
weights. The views of a batch and the teacher's forward pass are two others, which all students of a cohort
share. What differs from step to step lies in a graph's arguments; of numbers that is the learning rate, a
scalar on the GPU.

Nothing of this has run on a GPU yet: `[local] cuda_graphs` is off. Each graph is held against the operators
themselves when it is captured.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, cuda
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten

from kdbench.errors import UserError
from kdbench.training.context import TrainingContext

WARM_UPS = 3
"""Calls before a graph is captured, in which libraries choose their kernels and take their memory."""
ROUNDING = 1e-3
"""How far a graph may be from the operators themselves, relatively, where these are not deterministic."""


class Captured(NamedTuple):
    """A graph, and where its tensors lie."""

    graph: cuda.CUDAGraph
    reads: list[Tensor]
    """The places of the arguments' tensors."""
    writes: list[Any]
    """What it gives, overwritten each time."""
    form: TreeSpec
    """How that was nested."""


class Graphed:
    """A function of tensors on a GPU, captured once for each shape of its arguments, and anew for other ints.

    What it gives is valid until it, or another graph, is called again; a copy is for good.

    Args:
        function: does the same operators on any numbers; its arguments and what it gives are tensors, None,
            and tuples of these; an argument may be an int, such as an epoch.
        changes: tensors that it changes in place, such as running means.
        what: it is, for messages.
        weights: further tensors that it changes in place, by an optimizer. Rounding may turn such a step
            around (Adam's, where a gradient is about 0), so a graph's are held to those of the operators only
            where these are deterministic; an optimizer's state, which its gradients go into, always is.
        copy: give copies.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        changes: Iterable[Tensor],
        what: str,
        *,
        weights: Iterable[Tensor] = (),
        copy: bool = False,
    ) -> None:
        self.function, self.what, self.copy = function, what, copy
        self.changes, self.weights = list(changes), list(weights)
        self.ints: list[int] = []
        self.captured: dict[Hashable, Captured | None] = {}
        """By shapes, for the ints of the last call; None where it draws random numbers, which a graph would
        draw as another run does."""

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - of any form
        """What the function gives.

        Raises:
            UserError: it cannot be captured, or its graph gives other numbers.
        """
        leaves = tree_flatten(arguments)[0]
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        shapes = tuple(isinstance(each, Tensor) and (each.shape, each.stride()) for each in leaves)
        ints = [each for each in leaves if isinstance(each, int)]
        if ints != self.ints:
            self.captured, self.ints = {}, ints
        if shapes not in self.captured:
            with cuda.device(tensors[0].device):
                self.captured[shapes] = self._capture(arguments)
        captured = self.captured[shapes]
        if captured is None:
            return self.function(*arguments)
        for place, given in zip(captured.reads, tensors, strict=True):
            place.copy_(given)
        captured.graph.replay()
        given = tree_unflatten(captured.writes, captured.form)
        return tree_map_only(Tensor, Tensor.clone, given) if self.copy else given

    def _capture(self, arguments: Sequence[Any]) -> Captured | None:
        """A graph of the function, found to give what the function gives; nothing has changed afterwards."""
        mine = tree_map_only(Tensor, Tensor.clone, tuple(arguments))
        changed = [each.detach() for each in (*self.changes, *self.weights)]
        before = [each.clone() for each in changed]

        def restore() -> None:
            for place, kept in zip(changed, before, strict=True):
                place.copy_(kept)

        drawn = cuda.get_rng_state()
        side = cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(WARM_UPS):
                restore()
                given = self.function(*mine)
        cuda.current_stream().wait_stream(side)
        captured = None
        held = changed if torch.are_deterministic_algorithms_enabled() else changed[: len(self.changes)]
        expected = [*tree_flatten(given)[0], *(each.clone() for each in held)]
        if torch.equal(drawn, cuda.get_rng_state()):
            captured = self._graph(mine)
            restore()
            captured.graph.replay()
            self._check([*captured.writes, *held], expected)
        cuda.set_rng_state(drawn)
        restore()
        return captured

    def _graph(self, mine: Sequence[Any]) -> Captured:
        graph = cuda.CUDAGraph()
        try:
            with cuda.graph(graph, pool=shared_pool()):
                given = self.function(*mine)
        except RuntimeError as error:
            raise UserError(
                f"{self.what} cannot be captured as a CUDA graph: {str(error).splitlines()[0]}; "
                f"set cuda_graphs = false in benchmark.toml, [local]"
            ) from error
        reads = [each for each in tree_flatten(mine)[0] if isinstance(each, Tensor)]
        return Captured(graph, reads, *tree_flatten(given))

    def _check(self, found: Sequence[Any], expected: Sequence[Any]) -> None:
        """What a graph gives is what the operators give: the same bits where they are deterministic."""
        rounding = 0.0 if torch.are_deterministic_algorithms_enabled() else ROUNDING
        for ours, theirs in zip(found, expected, strict=True):
            if isinstance(theirs, Tensor) and not torch.allclose(
                ours.double(), theirs.double(), rtol=rounding, atol=rounding, equal_nan=True
            ):
                raise UserError(
                    f"{self.what} gives other numbers as a CUDA graph than without one; "
                    f"set cuda_graphs = false in benchmark.toml, [local]"
                )


def uses_graphs(context: TrainingContext) -> bool:
    """Whether steps are to be graphs here."""
    return context.machine.local.cuda_graphs and context.device.type == "cuda"


@cache
def shared_pool() -> Any:  # noqa: ANN401 - torch's own handle
    """The memory of all graphs of this process, which are launched one after the other."""
    return cuda.graph_pool_handle()
