"""A recorded step of one run, done for several: each operation on tensors that have an axis for runs first.

`addmm` becomes `baddbmm`, `softmax` is along the next axis. Which of these forms give each run's own bits
depends on the libraries' kernels: so an operation is done for all runs at once only where that gave the same
bits as run by run, on the first batch of each shape; else it is done run by run.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map

from kdbench.training.recorded import Program, Replay, UnrecordableError

Form = Callable[..., Any]
"""An operation for all runs at once: it is called with what the operation gets, all tensors stacked."""


def for_all_runs(
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
        if all(map(same_bits, tree_leaves(expected), tree_leaves(found))):
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


def same_bits(one: Any, other: Any) -> bool:  # noqa: ANN401
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
