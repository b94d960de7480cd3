"""What a distillation is held against: losses that no teacher has a part in. Symbols as in losses.py."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from kdbench.models.output import Output


def lsr_scaled(s: Output, y: Tensor, *, epsilon: float, scale: float) -> Tensor:
    """c H(q', p), q' = (1 - ε) q + ε u, c = scale: label smoothing, or with ε = 0 plain cross-entropy."""
    return scale * cross_entropy(s.logits, y, label_smoothing=epsilon)
