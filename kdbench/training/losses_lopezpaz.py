"""Generalized distillation (Lopez-Paz et al., ICLR 2016, arXiv 1511.03643). Symbols as in losses.py.

Code: lopezpaz/distillation_privileged_information at cdc4cae, code/mnist.py and code/synthetic.py. There, as
in the paper's Eq. 3, the student's own softmax has temperature 1 whatever T is: T softens the teacher's only.
"""

from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from kdbench.models.output import Output
from kdbench.training.losses import ce


def lopezpaz(s: Output, y: Tensor, t: Output, *, lam: float, T: float) -> Tensor:
    """(1 - λ) H(q, p) + λ H(p^t_T, p): the paper's Eq. 3."""
    return (1 - lam) * ce(s, y) + lam * soft_cross_entropy(t.logits, s.logits, T)


def lopezpaz_released(s: Output, y: Tensor, t: Output, *, lam: float, T: float) -> Tensor:
    """(1 - λ) H(q, p) + λ T² H(p^t_T, p): the code weighs the soft term by T² (mnist.py:53)."""
    return (1 - lam) * ce(s, y) + lam * T**2 * soft_cross_entropy(t.logits, s.logits, T)


def lopezpaz_tempered(s: Output, y: Tensor, t: Output, *, lam: float, T: float) -> Tensor:
    """(1 - λ) H(q, p) + λ T² H(p^t_T, p_T): with the student at T too, which neither paper nor code has."""
    return (1 - lam) * ce(s, y) + lam * T**2 * soft_cross_entropy(t.logits, s.logits / T, T)


def soft_cross_entropy(t: Tensor, s: Tensor, T: float) -> Tensor:
    """H(softmax(t / T), softmax(s)) of logits (N, K), mean over the batch."""
    return -(softmax(t.detach() / T, dim=1) * log_softmax(s, dim=1)).sum(dim=1).mean()
