"""Torch's calls of operators, one after the other as they are done: below autograd, backward passes too.

recorded.py does them again, operators.py counts those at which a host waits, counting.py their arithmetic.
"""

from typing import Any, NamedTuple

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Call(NamedTuple):
    """An operator that was done."""

    function: OpOverload[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any

    @property
    def name(self) -> str:
        """Without its overload: `add`, `mul_`."""
        return str(self.function.overloadpacket.__name__)

    @property
    def sources(self) -> list[Tensor]:
        """The tensors among its arguments."""
        return tensors_of((self.args, self.kwargs))

    @property
    def results(self) -> list[Tensor]:
        """The tensors that it gave."""
        return tensors_of(self.out)


class CallWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every call of an operator while it is entered, in their order; a subclass makes use of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __init_subclass__(cls) -> None:  # torch's has no types, which each subclass would have to excuse
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: nothing watched is compiled, and to skip the compiler torch would import it: 5 s."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's own signature
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Do an operator and show it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.see(Call(func, args, kwargs, out))
        return out

    def see(self, call: Call) -> None:
        """An operator was done."""
        raise NotImplementedError


def tensors_of(values: object) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def storage_of(tensor: Tensor) -> int:
    """What two tensors have in common that share their memory: torch's own handle of it.

    The address of the numbers would not do: it is 0 for all tensors on the meta device, and for empty ones.
    """
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - nothing else distinguishes them
