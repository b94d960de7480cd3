"""Generalized distillation (Lopez-Paz et al., ICLR 2016, arXiv 1511.03643). Symbols as in losses.py.

Code: lopezpaz/distillation_privileged_information at cdc4cae, code/mnist.py and code/synthetic.py. There, as
in the paper's Eq. 4, the student's own softmax has temperature 1 whatever T is: T softens the teacher's only.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from kdbench.models.output import Output
from kdbench.training.losses import ce


def lopezpaz(s: Output, y: Tensor, t: Output, *, lam: float, T: float) -> Tensor:
    """(1 - λ) H(q, p) + λ H(p^t_T, p): the paper's Eq. 4."""
    return _weighed(1 - lam, lam, s, y, t, T)


def lopezpaz_released(s: Output, y: Tensor, t: Output, *, lam: float, T: float) -> Tensor:
    """(1 - λ) H(q, p) + λ T² H(p^t_T, p): the code weighs the soft term by T² (mnist.py:48)."""
    return _weighed(1 - lam, lam * T**2, s, y, t, T)


def _weighed(hard: float, soft: float, s: Output, y: Tensor, t: Output, T: float) -> Tensor:
    """The sum of both terms; one that has no weight is not computed."""
    if not soft:
        return hard * ce(s, y)
    softened = soft * cross_entropy(s.logits, softmax(t.logits.detach() / T, dim=1))
    return hard * ce(s, y) + softened if hard else softened
