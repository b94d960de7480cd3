"""The arithmetic of a run: float32, tf32 or bf16, compiled or not. Evaluation is in plain float32.

`-compiled` is torch.compile: it fuses what stands between convolutions and products, whose last bits may
differ then. Its default mode is taken: CUDA graphs would overwrite a teacher's logits while students
learn from them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.errors import UserError
from kdbench.models.output import Output
from kdbench.spec.runs import Precision

COMPILED = "-compiled"
KINDS = 1000
"""Networks, shapes and modes that a process may compile (torch's own limits are 8, and 256 for all together).
Beyond that a call fails; without `fullgraph` it would run uncompiled, unnoticed."""
SWITCHED_OFF = "it is switched off, by TORCH_COMPILE_DISABLE or TORCHDYNAMO_DISABLE"
Forward = Callable[[Tensor], Output]


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse what a device cannot do: the run's identity would name an arithmetic that was not used.

    Raises:
        UserError: tf32, and the device is no GPU; or compiled, and torch.compile does not work here.
    """
    if plain(precision) == "tf32" and device.type != "cuda":
        hint = "use float32 or bf16"
        raise UserError(
            f"precision {precision} is arithmetic of GPUs, and the device is {device.type}: {hint}"
        )
    if precision.endswith(COMPILED) and (reason := why_not_compiled(device)):
        raise UserError(
            f"precision {precision}: torch.compile does not work on this machine's {device.type}: {reason}; "
            f"fix that (on a CPU it takes a C++ compiler, as $CXX or g++), or use {plain(precision)}"
        )


def plain(precision: str) -> str:
    """The numbers of a precision: float32, tf32 or bf16."""
    return precision.removesuffix(COMPILED)


@cache
def why_not_compiled(device: torch.device) -> str:
    """Why torch.compile does not work here, found by trying; "" where it does."""
    try:
        set_compiler()
        if torch._dynamo.config.disable:  # noqa: SLF001 - torch says it nowhere else
            return SWITCHED_OFF
        # fullgraph: without it what cannot be compiled is just called, unnoticed
        done = torch.compile(_whether_compiled, fullgraph=True)(torch.zeros(8, device=device))
        return "" if done.all() else SWITCHED_OFF
    except Exception as error:  # noqa: BLE001 - of many kinds: the compiler's, torch's, the system's
        lines = [line for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__


def _whether_compiled(zeros: Tensor) -> Tensor:
    """Ones if this is compiled, for which there must be a kernel; zeros if torch just calls it."""
    return zeros.sin() + torch.compiler.is_compiling()


@cache
def set_compiler() -> None:
    """Let torch.compile take many networks, and on CPUs no processes beside the worker's own."""
    import torch._dynamo
    import torch._inductor.config

    limits: Any = torch._dynamo.config  # noqa: SLF001 - torch says it nowhere else
    limits.recompile_limit = limits.accumulated_recompile_limit = KINDS
    if not torch.cuda.is_available():
        torch._inductor.config.compile_threads = 1  # noqa: SLF001 - the same
    with suppress(ImportError):  # torch uses it where it is there, and its lock would outlive the worker
        from tqdm import tqdm

        tqdm.set_lock(RLock())


def arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """On a GPU, let matrix products and convolutions round their inputs to tf32, or forbid it.

    PyTorch's own default is tf32 for convolutions.
    """
    return _on_gpu(precision) if device.type == "cuda" else nullcontext()


@contextmanager
def _on_gpu(precision: Precision) -> Iterator[None]:
    parts: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = plain(precision) == "tf32"
    try:
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            part.allow_tf32 = value


def forward_of(network: nn.Module, precision: Precision) -> Forward:
    """What a network makes of images; in bf16 its outputs are float32, before any temperature.

    The network itself stays as it is: its weights and its mode are those of every call. Compiled, its dropout
    draws what it draws otherwise, from torch's generator, and leaves that as it would.
    """
    call: Forward = network
    if precision.endswith(COMPILED):
        set_compiler()
        options: Any = {"fallback_random": True}
        call = torch.compile(network, fullgraph=True, dynamic=False, options=options)
    if plain(precision) != "bf16":
        return call

    def half(x: Tensor) -> Output:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            out = call(x)
        # softmax at a temperature, and differences of features, need more than the 8 significant bits of bf16
        maps = tuple(each.float() for each in out.maps)
        return out._replace(logits=out.logits.float(), features=out.features.float(), maps=maps)

    return half
