"""Runs of several seeds, whose steps are done as one: their tensors lie in one that has an axis for runs.

A step of logistic regression on 128 points is some 20 operations of a few microseconds, most of which is
the calling. A hundred seeds take the same operations with the same shapes. So the recorded step of one run
(recorded.py) is written once more for all of them, operation by operation: `addmm` becomes `baddbmm`,
`softmax` is along the next axis.

No run's number may depend on its company. Therefore an operation is done for all runs at once only where
that gave each one's own bits in the first step of each shape; else it is done run by run. And loss,
gradients and new weights of that step must be those of every run alone, to the last bit. Where one is not,
the runs are trained one after the other.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from operator import getitem
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map

from kdbench.models.output import Output
from kdbench.training.distillers.distiller import Step
from kdbench.training.optim import lr_at, make_optimizer
from kdbench.training.precision import arithmetic
from kdbench.training.recorded import (
    Program,
    RecordedStep,
    Replay,
    UnrecordableError,
    by_autograd,
    record,
)
from kdbench.training.teacher_batches import DistillationBatch, Fixed, TeacherBatches, flat

if TYPE_CHECKING:
    from kdbench.training.student_run import StudentRun

Batches = Sequence[DistillationBatch]
"""One of each stream of a cohort."""
Form = Callable[..., Any]
"""An operation for all runs at once: it is called with what the operation gets, all tensors stacked."""


class Stack:
    """Runs that differ in their seed and their teacher, at the same epoch.

    Args:
        runs: two at least, `stackable` and alike (`Run.seedless`). From now on their
            parameters and what their optimizers remember are parts of this stack's tensors.
    """

    def __init__(self, runs: Sequence["StudentRun"]) -> None:
        self.runs = list(runs)
        self.recipe = runs[0].run.recipe
        self.parameters = _gathered([run.parameters for run in runs])
        self.optimizer = make_optimizer(self.recipe, self.parameters)
        self.optimizer.state = _gathered([run.optimizer.state for run in runs])
        self.replays: dict[object, Replay] = {}
        """By the shapes of a batch."""
        for run in runs:  # what was recorded has the parameters where they were
            run.recorded = RecordedStep(run.parameters)

    def step(self, number: int, steps: int, batches: Batches, places: Sequence[int]) -> None:
        """Learn from a batch each: the number-th, counted from 0, of so many.

        Args:
            number: of the step in its epoch.
            steps: of the epoch.
            batches: one of each stream of the cohort.
            places: whose batch each run learns from.

        Raises:
            UnrecordableError: some run alone would get other numbers. Nothing has changed.
        """
        started = perf_counter()
        stacked = _stacked(batches, places)
        shapes = tuple([each.shape for each in stacked])
        lr = lr_at(self.recipe, self.runs[0].epoch, number, steps)
        with arithmetic(self.runs[0].run.precision, self.runs[0].context.device):
            if shapes not in self.replays:
                self.replays[shapes] = self._replay(number, [batches[place] for place in places], stacked, lr)
            # of S runs: their losses (S,), and of each parameter a gradient (S, ...)
            values, *gradients = self.replays[shapes](*stacked)
        self.optimizer.step(lr, gradients)
        # all runs have taken the same operations, so each has had an equal part of the time
        seconds = (perf_counter() - started) / len(self.runs)
        for run, value in zip(self.runs, values.unbind(), strict=True):
            run.losses.append(value)
            run.sizes.append(len(stacked[1][0]))
            run.seconds += seconds

    def dissolved(self) -> list["StudentRun"]:
        """Its runs, whose steps are done one after the other from now on."""
        for run in self.runs:
            run.alone = True
        return self.runs

    def _replay(
        self,
        number: int,
        batches: Batches,
        stacked: Sequence[Tensor],
        lr: float,
    ) -> Replay:
        """The step for all runs, found to give what each run's own step gives on these batches."""
        # Both ways step on copies of weights and optimizer: whatever comes out, nothing has changed yet, so
        # that `step` does this batch itself, or the caller lets each run do it alone.
        program = self._recorded(number, batches[0])
        replay = _for_all(program, self.parameters, self.runs[0].parameters, stacked)
        values, *gradients = replay(*stacked)
        together = _Optimized(self.recipe, self.parameters, self.optimizer.state)
        together.optimizer.step(lr, gradients)
        for place, (run, batch) in enumerate(zip(self.runs, batches, strict=True)):
            loss = partial(run.loss, batch, self._at(run, number, batch))
            value, slopes = by_autograd(loss, run.parameters)
            alone = _Optimized(self.recipe, run.parameters, run.optimizer.state)
            alone.optimizer.step(lr, slopes)
            expected = [value, *slopes, *alone.tensors]
            found = [_of(each, place) for each in (values, *gradients, *together.tensors)]
            if not all(map(_same, expected, found)):
                raise UnrecordableError(f"{run.run.slug} seed {run.run.seed}: other bits than alone")
        return replay

    def _recorded(self, number: int, batch: DistillationBatch) -> Program:
        """The first run's step."""
        run, inputs = self.runs[0], [batch.x, batch.y, *flat(batch.taught)]
        program = record(inputs, partial(run.loss, batch, self._at(run, number, batch)), run.parameters)[2]
        if program is None or program.draws:
            raise UnrecordableError(f"{run.run.slug}: its step draws, or is not the same for every batch")
        return program

    def _at(self, run: "StudentRun", number: int, batch: DistillationBatch) -> Step:
        return Step(batch.indices, run.epoch, number, run.run.seed)


def make_stacks(runs: Sequence["StudentRun"], before: Sequence[Stack] = ()) -> list[Stack]:
    """The stacks of runs of one cohort at an epoch, as far as several are alike and may be stacked.

    Args:
        runs: all that are about to do the epoch.
        before: the stacks of the last one, of which those serve again whose runs are all there.
    """
    alike: dict[tuple[str, int], list[StudentRun]] = {}
    for each in runs:
        if stackable(each):
            alike.setdefault((each.run.seedless.id, each.progress.epoch), []).append(each)
    # a stack of the same runs has its replays already, each found and tested in a first step
    known = {tuple(stack.runs): stack for stack in before}
    return [known.get(tuple(some)) or Stack(some) for some in alike.values() if len(some) > 1]


def stackable(run: "StudentRun") -> bool:
    """Whether a run's step is recorded, and is nothing but gradients and an optimizer's formula."""
    recipe = run.run.recipe
    more = recipe.max_norm or recipe.ema
    by_element = recipe.optimizer in ("sgd", "rmsprop")  # Adam counts its steps, one number for all tensors
    return run.recorded is not None and by_element and not more and not run.alone


class StackedBatch(Sequence[DistillationBatch]):
    """A batch of each of several streams, in tensors with an axis for streams before the others.

    Args:
        x: images (S, B, C, H, W).
        y: classes (S, B).
        logits: the teachers', (S, B, K), should there be any.
        indices: (S, B).
    """

    def __init__(self, x: Tensor, y: Tensor, logits: Tensor | None, indices: Tensor) -> None:
        self.x, self.y, self.logits, self.indices = x, y, logits, indices

    def __len__(self) -> int:
        """S."""
        return len(self.y)

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401 - one stream's batch
        """One stream's batch."""
        taught = None if self.logits is None else Output(self.logits[place], self.logits.new_empty(0))
        return DistillationBatch(
            self.x[place], self.y[place], taught, self.indices[place], len(self.y[place])
        )


def side_by_side(streams: Sequence[TeacherBatches], epoch: int) -> Iterator[Batches]:
    """The batches of an epoch of several streams: the first one of each, the second one of each, ...

    Where no image of theirs changes from epoch to epoch, nor what its teacher makes of it, a batch is
    gathered for all of them at once.

    Args:
        streams: of as many batches each.
        epoch: counted from 1.
    """
    joined = _joined([stream.fixed() for stream in streams])
    if joined is None:
        yield from zip(*[stream.epoch(epoch) for stream in streams], strict=True)
        return
    # The N images of stream s lie behind those of the streams before it: its image i is row s N + i.
    first = streams[0]
    offsets = first.images * torch.arange(len(streams))[:, None]
    for number in range(first.passes):
        orders = torch.stack([stream.order(epoch, number) for stream in streams])
        for indices in torch.split(orders, first.batch_size, dim=1):
            here = (indices + offsets).flatten()  # of (S, B): one gather is faster than S
            x, y, *logits = [
                each.index_select(0, here).view(*indices.shape, *each.shape[1:]) for each in joined
            ]
            yield StackedBatch(x, y, logits[0] if logits else None, indices)


def _joined(streams: Sequence[Fixed | None]) -> list[Tensor] | None:
    """Images, classes and logits, should there be any, of all streams: S streams of N as (S N, ...).

    None for one alone, and where they change or differ in their shapes.
    """
    known = [each for each in streams if each is not None]
    if len(streams) == 1 or len(known) < len(streams):
        return None
    joined = []
    for parts in zip(*known, strict=True):
        there = [part for part in parts if part is not None]
        if len({part.shape for part in there}) > 1 or len(there) not in (0, len(parts)):
            return None
        if there:
            joined.append(torch.cat(there))
    return joined


def _stacked(batches: Batches, places: Sequence[int]) -> list[Tensor]:
    """What the losses of some streams depend on, with an axis for streams before the others."""
    if isinstance(batches, StackedBatch):
        parts = [batches.x, batches.y]
        if batches.logits is not None:  # as `flat`: the logits, and no features
            parts += [batches.logits, batches.logits.new_empty(len(batches), 0)]
        if list(places) == list(range(len(batches))):
            return parts
        chosen = torch.tensor(places)
        return [each.index_select(0, chosen) for each in parts]
    inputs = [[batches[place].x, batches[place].y, *flat(batches[place].taught)] for place in places]
    return [torch.stack(each) for each in zip(*inputs, strict=True)]


class _Optimized:
    """Copies of parameters and of what is remembered of them, under an optimizer of their own."""

    def __init__(self, recipe: Any, parameters: Sequence[Tensor], state: Sequence[Tensor]) -> None:  # noqa: ANN401
        copies = [each.detach().clone() for each in parameters]
        self.optimizer = make_optimizer(recipe, copies)
        self.optimizer.state = [each.clone() for each in state]
        self.tensors = [*copies, *self.optimizer.state]


def _gathered(of_runs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Tensors of each run, put into one for all runs, of which each run's is a part from now on.

    Example: of two runs with a weight (K, D) and a bias (K,) each, one tensor (2, K, D) and one (2, K). The
    runs keep their tensors and only what these point to changes: evaluation, checkpoints and a step alone
    see what the stack does, and the other way round, without a copy.
    """
    found = []
    for each in zip(*of_runs, strict=True):
        whole = torch.stack([tensor.detach() for tensor in each])
        for tensor, part in zip(each, whole.unbind(), strict=True):
            tensor.data = part
        found.append(whole)
    return found


def _for_all(
    program: Program, parameters: Sequence[Tensor], of_first: Sequence[Tensor], inputs: Sequence[Tensor]
) -> Replay:
    """A recorded step of the first run, for all runs.

    Args:
        program: what the first run did. Its constants are parameters of this run, or views of them.
        parameters: of all runs.
        of_first: the first run's part of each of them.
        inputs: a batch of each run, stacked.

    Raises:
        UnrecordableError: a constant is no parameter.
    """
    # The nodes of the graph: its inputs, then the constants, then the calls in their order, then the output.
    nodes = list(program.graph.nodes)
    constants = {node: _of_all(tensor, parameters, of_first) for node, tensor in program.constants.values()}
    names = [node for node in nodes if node.op == "placeholder" and node not in constants]
    calls = [node for node in nodes if node.op == "call_function"]
    forms: dict[fx.Node, Form] = {}  # found by the first replay, below; later ones take them as they are

    @torch.no_grad()
    def replay(*inputs: Tensor) -> tuple[Any, ...]:
        values = constants | dict(zip(names, inputs, strict=True))
        for node in calls:
            # a call's arguments are nodes: in their places come what these have given, for all runs
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            if node not in forms:
                forms[node] = _form(node.target, args, kwargs, len(inputs[0]))
            values[node] = forms[node](*args, **kwargs)
        return fx.map_arg(nodes[-1].args[0], values.__getitem__)

    replay(*inputs)
    return replay


def _of_all(constant: Tensor, parameters: Sequence[Tensor], of_first: Sequence[Tensor]) -> Tensor:
    """What is a view of the first run's part of a parameter, of all runs.

    That part begins where the stacked tensor (S, ...) does, so offset and strides of the view hold for it as
    they are; the other runs' views lie `part.numel()` numbers apart. Example: W.T (D, K) of the first run of
    weights (S, K, D) has the strides (1, D); of all runs it is (S, D, K) with the strides (K D, 1, D).
    """
    for whole, part in zip(parameters, of_first, strict=True):
        if constant.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr():
            shape, strides = (len(whole), *constant.shape), (part.numel(), *constant.stride())
            return whole.as_strided(shape, strides, constant.storage_offset())
    raise UnrecordableError(f"a constant of shape {tuple(constant.shape)} that is no parameter")


def _form(target: Any, args: Any, kwargs: Any, runs: int) -> Form:  # noqa: ANN401
    """How an operation is done for all runs: at once where that has the bits of each run's own, on these.

    Libraries choose their kernels by shape, and a kernel its order of adding up: on the same shapes, what has
    the same bits now has them for other numbers too.
    """
    if target is getitem:
        return target
    name = getattr(target, "overloadpacket", target).__name__
    nested = tree_leaves([each for each in (*args, kwargs) if not isinstance(each, Tensor)])
    if any(isinstance(each, Tensor) for each in nested):
        raise UnrecordableError(f"{name} of a list of tensors")
    form, one_by_one = FORMS.get(name), partial(_one_by_one, runs, target)
    if form is None:
        return one_by_one
    if name.endswith("_"):  # it changes its argument, and is about to be called with it
        args = tree_map(_copy, args)
    expected = one_by_one(*args, **kwargs)
    with suppress(RuntimeError, IndexError, TypeError):  # arguments that it does not know
        found = form(*args, **kwargs)
        if all(map(_same, tree_leaves(expected), tree_leaves(found))):
            return form
    return one_by_one


def _one_by_one(runs: int, target: Form, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """An operation, done for each run; its results, stacked."""
    of_runs = [each.unbind() if isinstance(each, Tensor) else [each] * runs for each in args]
    found = [target(*own, **kwargs) for own in zip(*of_runs, strict=True)]
    if isinstance(found[0], Tensor):
        return torch.stack(found)
    return tuple([torch.stack(each) for each in zip(*found, strict=True)])


def _copy(value: Any) -> Any:  # noqa: ANN401
    return value.clone() if isinstance(value, Tensor) else value


def _of(each: Tensor | None, place: int) -> Tensor | None:
    """One run's part."""
    return None if each is None else each[place]


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401
    """Whether two results have the same bits: 0 and -0 have not."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return one is None and other is None
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    # as integers: == would take 0 for -0, and NaN for different from itself
    bits = torch.int32 if one.dtype == torch.float32 else one.dtype
    return torch.equal(one.view(bits), other.view(bits))


def _aligned(function: Form) -> Form:
    """An operation on elements: what has fewer axes gets them behind the one for runs.

    Alone, (B, K) + (K,) is aligned by the last axis. Stacked, (S, B, K) + (S, K) would add S to B: the second
    must be (S, 1, K).
    """

    def form(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        most = max(each.dim() for each in args if isinstance(each, Tensor))
        return function(*[_with_axes(each, most) for each in args], **kwargs)

    return form


def _with_axes(value: Any, axes: int) -> Any:  # noqa: ANN401
    if not isinstance(value, Tensor) or value.dim() == axes:
        return value
    return value.view(len(value), *[1] * (axes - value.dim()), *value.shape[1:])


def _next(dim: int) -> int:
    """An axis of one run, counted for all runs."""
    return dim + 1 if dim >= 0 else dim


def _sum(x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False) -> Tensor:  # noqa: FBT001, FBT002 - torch's
    if dims is None:
        return torch.sum(x.flatten(1), 1)
    return torch.sum(x, [_next(each) for each in dims], keepdim)


def _view(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.reshape(len(x), *shape)


def _expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    whole: Tensor = _with_axes(x, len(shape) + 1)
    return whole.expand(len(x), *shape)


def _nll_backward(slope: Tensor, x: Tensor, y: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401
    """Of a mean over the batch: -slope / n where the class is, else 0."""
    each: Tensor = -(slope / rest[-1])
    return torch.zeros_like(x).scatter_(2, y[:, :, None], each[:, None, None].expand(*y.shape, 1))


def _along(function: Form) -> Form:
    """An operation whose second argument is an axis."""
    return lambda x, dim, *more: function(x, _next(dim), *more)


def _back_along(function: Form) -> Form:
    """The same of one whose third argument is."""
    return lambda slope, out, dim, *more: function(slope, out, _next(dim), *more)


ELEMENTWISE: dict[str, Form] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "pow": torch.pow,
    "relu": torch.relu,
    "threshold_backward": torch.ops.aten.threshold_backward,
    "ones_like": torch.ones_like,
    "zeros_like": torch.zeros_like,
}
FORMS: dict[str, Form] = {
    **{name: _aligned(function) for name, function in ELEMENTWISE.items()},
    "addmm": lambda bias, x, w: torch.baddbmm(bias[:, None], x, w),
    "mm": torch.bmm,
    "t": lambda x: x.transpose(1, 2),
    "sum": _sum,
    "view": _view,
    "expand": _expand,
    "relu_": torch.relu_,
    "nll_loss_backward": _nll_backward,
    "_softmax": _along(torch._softmax),  # noqa: SLF001
    "_log_softmax": _along(torch._log_softmax),  # noqa: SLF001
    "_softmax_backward_data": _back_along(torch._softmax_backward_data),  # noqa: SLF001
    "_log_softmax_backward_data": _back_along(torch._log_softmax_backward_data),  # noqa: SLF001
}
"""By its name: an operation for all runs at once. Which of them give the same bits, a first step shows."""
