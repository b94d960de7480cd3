"""Two networks' maps, stage by stage, at one size."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from kdbench.models.output import Output


def sum_over_stages(term: Callable[[Tensor, Tensor], Tensor], s: Output, t: Output) -> Tensor:
    """Σ_l of a term of (f_l, f^t_l) at one size, of all maps but the first: a scalar."""
    stages = zip(s.maps[1:], t.maps[1:], strict=False)
    return torch.stack([term(*to_one_size(f, f_t)) for f, f_t in stages]).sum()


def to_one_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Of maps (N, C, H, H), the larger one is averaged down to the size of the smaller one."""
    if a.shape[2] > b.shape[2]:
        return _pooled(a, b.shape[2]), b
    return a, _pooled(b, a.shape[2])


def _pooled(f: Tensor, side: int) -> Tensor:
    """(N, C, H, H) to (N, C, side, side). Where side divides H, the gradient is deterministic on GPUs too."""
    ratio, rest = divmod(f.shape[2], side)
    if rest:
        return adaptive_avg_pool2d(f, side)
    return f if ratio == 1 else avg_pool2d(f, ratio)
