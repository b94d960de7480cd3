"""The operators of a training step, and those at which the host would wait for a GPU: counted on any device.

An operator that does work is a kernel launch or a few; views and allocations are none. The host waits
where it needs numbers: `.item()`, `.cpu()`, `nonzero`, an index of booleans, `equal`. A GPU then runs dry.

On the CPU nothing shows what would lie in the host's memory beside a GPU. So all tensors count as the
device's, but those that are made on the host, and what is made of them alone.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from kdbench.training.calls import Call, CallWatch, storage_of, tensors_of

DEPENDENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""Of operators whose result depends on numbers in kind or in size."""
INDEXED = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}
"""Operators that look for what is true, where an index is of booleans."""
ALLOCATING = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
READING = {"cpu", "numpy", "tolist", "__array__"}
"""Methods that bring numbers to the host, and are no operators where the tensor is on the CPU."""


class Operators(CallWatch):
    """Counts operators by name while it is entered.

    Example: of `w.mul_(2).t().sum().item()`, `operators` has mul_, sum and _local_scalar_dense, and
    `synchronising` the last one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.synchronising: Counter[str] = Counter()
        self.host: dict[int, Tensor] = {}
        """By storage; kept, so that none of the device's gets its place."""
        self.reading = Reading(self)

    def __enter__(self) -> Self:
        """Count from now on."""
        self.reading.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        """Count no more."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self.reading.__exit__(*error)  # type: ignore[no-untyped-call]

    def see(self, call: Call) -> None:
        """Count an operator."""
        sources = call.sources
        if sources and all(map(self.on_host, sources)):
            self.keep(call.results)
            return
        if not _is_view(call) and call.name not in ALLOCATING:
            self.operators[call.name] += 1
        if _waits(call):
            self.synchronising[call.name] += 1

    def keep(self, host: Iterable[Tensor]) -> None:
        """Know tensors as the host's."""
        self.host |= {storage_of(each): each for each in host}

    def on_host(self, tensor: Tensor) -> bool:
        """Whether a tensor would be in the host's memory beside a GPU."""
        return storage_of(tensor) in self.host


class Reading(TorchFunctionMode):
    """Sees what operators do not show: numbers of a CPU's tensor that go to Python, tensors made on the host.

    Made there is what is made of no tensor, where the call names no device: `torch.randperm(9)`.
    """

    def __init__(self, counted: Operators) -> None:
        super().__init__()
        self.counted = counted

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - torch's own signature
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Do what is called, and count it where it reads; of a GPU's tensor, the copy is counted."""
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in READING and args[0].device.type == "cpu" and not self.counted.on_host(args[0]):
            self.counted.synchronising[name] += 1
        out = func(*args, **kwargs)
        if not tensors_of((args, kwargs)) and kwargs.get("device") is None:
            self.counted.keep(tensors_of(out))
        return out


def _waits(call: Call) -> bool:
    """Whether the host waits for the device before it goes on.

    That is a copy between a GPU and the CPU that is not `non_blocking`, an index of booleans, or a result
    that depends on numbers.
    """
    if call.name in ("_to_copy", "copy_"):
        devices = {each.device.type for each in [*call.sources, *call.results]}
        flags = [call.kwargs.get("non_blocking"), *(call.args[2:3] if call.name == "copy_" else ())]
        return len(devices) > 1 and not any(flags)
    if call.name in INDEXED:
        return any(each.dtype in (torch.bool, torch.uint8) for each in tensors_of(call.args[1]))
    return bool(DEPENDENT & set(call.function.tags))


def _is_view(call: Call) -> bool:
    """Whether an operator gives another look at the same numbers: `t`, `view`, `detach`."""
    aliases = [each.alias_info for each in call.function._schema.returns]  # noqa: SLF001 - nowhere else
    return any(each is not None and not each.is_write for each in aliases)
