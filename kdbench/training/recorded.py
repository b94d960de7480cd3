"""A small network's step, recorded: torch's operations of the first one, done again for each further batch.

Of a step of a small network most time goes to what stands around the arithmetic: modules in Python, and the
graph for the backward pass. Both lead to the same list of operations in every step. So the first step is
watched (forward and backward pass, below autograd), and from then on its operations are called one after the
other, on the new batch: the same kernels on the same numbers, hence the same bits. Logistic regression:
addmm, _log_softmax, nll_loss_forward, their backward operations, mm, sum.

What is recorded must not depend on numbers: an operation that brings one to Python (`.item()`) is refused,
and so is a tensor that came about unseen. Then every step is done as usual. Random numbers are drawn anew
each time.
"""

from collections.abc import Callable, Sequence
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from kdbench.spec.runs import Run
from kdbench.training.calls import Call, CallWatch, storage_of
from kdbench.training.objective import LossObjective
from kdbench.training.operators import DEPENDENT

SMALL = 100_000
"""Weights up to which it pays: a larger network's step is arithmetic."""
FAST = {
    *("addmm", "mm", "t", "sum", "mul", "div", "neg"),
    *("_log_softmax", "_log_softmax_backward_data", "_softmax", "_softmax_backward_data"),
}
"""Operations that are called as `torch.NAME`, in two thirds of the time of `torch.ops.aten.NAME`."""
Place = tuple[Any, ...]
"""Where a tensor lies: two with the same place are the same numbers."""
Replay = Callable[..., tuple[Any, ...]]
"""Of a batch's tensors: the loss, then a gradient (or None) for each parameter."""


class UnrecordableError(Exception):
    """A step does not consist of the same operations for every batch."""


class Recorder(CallWatch):
    """All operations that are done while it is on, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def see(self, call: Call) -> None:
        """Note an operation."""
        self.calls.append(call)


class RecordedStep:
    """The gradients of a run's batches: by autograd for the first one of each shape, then by its record.

    Args:
        parameters: that get gradients.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.replays: dict[Place, Replay | None] = {}
        self.draws = True
        """Whether a step may draw random numbers."""

    def gradients(
        self, inputs: Sequence[Tensor], loss: Callable[[], Tensor]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The loss of a batch and its gradients.

        Args:
            inputs: all tensors of the batch on which the loss depends.
            loss: computes it, from these very tensors.
        """
        shapes = tuple([(each.shape, each.stride()) for each in inputs])
        replay = self.replays.get(shapes)
        if replay is not None:
            value, *gradients = replay(*inputs)
            return value, gradients
        if shapes in self.replays:  # as None: its first step could not be recorded
            return by_autograd(loss, self.parameters)
        value, gradients, program = record(inputs, loss, self.parameters)
        self.replays[shapes] = None if program is None else program.replay()
        self.draws = program is None or program.draws
        return value, gradients


def by_autograd(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    """A loss and its gradients, as usual."""
    value = loss()
    return value.detach(), list(torch.autograd.grad(value, parameters, allow_unused=True))


def record(
    inputs: Sequence[Tensor], loss: Callable[[], Tensor], parameters: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor | None], "Program | None"]:
    """The same, and the operations that led there; None where they are not the same for every batch.

    Args:
        inputs: all tensors of the batch on which the loss depends.
        loss: computes it, from these very tensors.
        parameters: that get gradients.
    """
    with Recorder() as recorder:
        value, gradients = by_autograd(loss, parameters)
    program = Program(inputs)
    try:
        for call in recorder.calls:
            program.add(call)
        program.end([value, *gradients])
    except UnrecordableError:
        return value, gradients, None
    return value, gradients, program


def recordable(run: Run, trained: nn.Module, objective: nn.Module, device: torch.device) -> bool:
    """Whether a run's steps may be recorded: a small network on a CPU, and no code but kdbench's own."""
    own = not run.plugins and isinstance(objective, LossObjective)
    recipe = run.recipe
    special = recipe.ghost_batches or recipe.mixes or recipe.clip_norm  # need more than a batch
    plain = run.precision == "float32" and device.type == "cpu" and not special
    return own and plain and sum(each.numel() for each in trained.parameters()) < SMALL


def _place(tensor: Tensor) -> Place:
    return storage_of(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


class Program:
    """Recorded calls, made a function of the inputs call by call.

    A tensor is known by its place. One that is no input, and that no call has made, is a constant: a
    parameter, a buffer. Not called again are views of constants, which are constants too, and second names of
    the same numbers (`detach`).
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.graph = fx.Graph()
        self.made: dict[Place, fx.Node] = {}
        self.constants: dict[Place, tuple[fx.Node, Tensor]] = {}
        for number, each in enumerate(inputs):
            self.last = self.graph.placeholder(f"input{number}")
            self.made.setdefault(_place(each), self.last)
        self.storages = {storage_of(each) for each in inputs}
        """Whose numbers are another batch's next time."""
        self.draws = False
        """Whether it draws random numbers."""

    def add(self, call: Call) -> None:
        """One more call.

        Raises:
            UnrecordableError: its result is a number, or as large as numbers say.
        """
        results = call.results
        if not results or DEPENDENT & set(call.function.tags):
            raise UnrecordableError(str(call.function))
        self.draws |= torch.Tag.nondeterministic_seeded in call.function.tags
        # Two kinds of calls need not be done again. One whose results all have a name already: it gives a
        # second name to the same numbers. And one whose results lie where its own constants do: a view of a
        # parameter, W.T, shows the new weights too when a step has changed them in place. What changes its
        # arguments is done again in any case.
        named = all(_place(each) in self.made for each in results)
        sources = {storage_of(each) for each in call.sources} - self.storages
        of_constants = sources.issuperset(map(storage_of, results))
        if not call.function._schema.is_mutable and (named or of_constants):  # noqa: SLF001 - nowhere else
            return
        target = getattr(torch, call.name) if call.name in FAST else call.function
        args, kwargs = tree_map(self._node, (call.args, call.kwargs))
        node = self.graph.call_function(target, args, kwargs)
        if isinstance(call.out, Tensor):
            self._name(call.out, node)
            return
        for number, each in enumerate(call.out):
            if isinstance(each, Tensor):
                self._name(each, self.graph.call_function(getitem, (node, number)))

    def end(self, outputs: Sequence[Tensor | None]) -> None:
        """These are what it leads to."""
        self.graph.output(tuple(map(self._node, outputs)))

    def replay(self) -> Replay:
        """It as a function of the inputs; the graph's further ones, the constants, are always the same."""
        forward: Replay = fx.GraphModule(nn.Module(), self.graph).forward
        constants = [tensor for _, tensor in self.constants.values()]

        @torch.no_grad()
        def replay(*inputs: Tensor) -> tuple[Any, ...]:
            return forward(*inputs, *constants)

        return replay

    def _name(self, tensor: Tensor, node: fx.Node) -> None:
        """Where a call has put what it made; a constant that it has changed in place stays one."""
        if _place(tensor) not in self.constants:
            self.made[_place(tensor)] = node
            self.storages.add(storage_of(tensor))

    def _node(self, value: Any) -> Any:  # noqa: ANN401 - any argument
        if not isinstance(value, Tensor):
            return value
        place = _place(value)
        if place in self.made:
            return self.made[place]
        if place[0] in self.storages:  # of this batch's numbers: as a constant it would be wrong next time
            raise UnrecordableError(f"a view of shape {tuple(value.shape)} that no operation has made")
        if place not in self.constants:
            with self.graph.inserting_after(self.last):  # arguments come before all calls
                self.last = self.graph.placeholder(f"constant{len(self.constants)}")
            self.constants[place] = (self.last, value.detach())
        return self.constants[place][0]
