"""The losses, each under its equation, as printed and (NAME_released) as the authors' code computes it.

Papers: Tf-KD, Yuan et al., CVPR 2020 (arXiv 1909.11723). Code: yuanli2333/Teacher-free-Knowledge-
Distillation at d000ab3, my_loss_function.py.

    s, t     what student and teacher put out: s.logits (N, K), s.features (N, D)
    y        the classes, (N,) of int64; q: the same as one-hot rows, (N, K)
    K, N     classes, images of the batch
    p_τ      softmax(s.logits / τ), p = p_1; p^t_τ the same of the teacher
    u        1 / K for every class
    H(q, p)  cross-entropy, - Σ_k q(k) log p(k), mean over the batch
    D_KL     Σ_k p^t(k) (log p^t(k) - log p(k)), mean over the batch

Every loss takes logits in any floating type, returns the mean over the batch as a scalar of that type,
and is differentiable in the student; a teacher's output is a constant.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from kdbench.models.output import Output


def ce(s: Output, y: Tensor) -> Tensor:
    """H(q, p): the baseline."""
    return cross_entropy(s.logits, y)


def lsr(s: Output, y: Tensor, *, epsilon: float) -> Tensor:
    """H(q', p), q' = (1 - ε) q + ε u: label smoothing (Tf-KD, Eqs. 1 and 2)."""
    return cross_entropy(s.logits, y, label_smoothing=epsilon)


def lsr_released(s: Output, y: Tensor, *, epsilon: float) -> Tensor:
    """H(q', p), q' = 1 - ε on the class and ε / (K - 1) on each other (my_loss_function.py:50)."""
    return cross_entropy(s.logits, virtual_teacher(s.logits, y, a=1 - epsilon))


def lsr_scaled(s: Output, y: Tensor, *, epsilon: float, scale: float) -> Tensor:
    """c H(q', p), q' = (1 - ε) q + ε u, c = scale: of no paper; what a distillation is held against."""
    return scale * lsr(s, y, epsilon=epsilon)


def kd(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float) -> Tensor:
    """(1 - α) H(q, p) + α D_KL(p^t_τ, p_τ): knowledge distillation (Tf-KD, Eq. 4). No τ² is printed."""
    return (1 - alpha) * ce(s, y) + alpha * divergence(t.logits, s.logits, tau)


def kd_released(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float) -> Tensor:
    """(1 - α) H(q, p) + α τ² / K · D_KL(p^t_τ, p_τ): the KL's mean is over classes too (:14)."""
    return tfkd_self_released(s, y, t, alpha=alpha, tau=tau, multiplier=1)


def tfkd_self(s: Output, y: Tensor, t: Output, *, alpha: float, tau: float) -> Tensor:
    """(1 - α) H(q, p) + α D_KL(p^t_τ, p_τ), the teacher being the student, pre-trained (Tf-KD, Eq. 7)."""
    return kd(s, y, t, alpha=alpha, tau=tau)


def tfkd_self_released(
    s: Output, y: Tensor, t: Output, *, alpha: float, tau: float, multiplier: float
) -> Tensor:
    """(1 - α) H(q, p) + α τ² m / K · D_KL(p^t_τ, p_τ), with an unprinted m of 1 to 100 (:28)."""
    K = s.logits.shape[1]
    soft = divergence(t.logits, s.logits, tau) * (tau**2 * multiplier / K)
    return (1 - alpha) * ce(s, y) + alpha * soft


def tfkd_reg(s: Output, y: Tensor, *, alpha: float, tau: float, a: float) -> Tensor:
    """(1 - α) H(q, p) + α D_KL(p^d_τ, p_τ): the teacher is designed by hand (Tf-KD, Eqs. 8 and 9).

    p^d is `virtual_teacher`; p^d_τ = softmax(log p^d / τ), as for logits whose softmax is p^d.
    """
    designed = virtual_teacher(s.logits, y, a=a).log()
    return (1 - alpha) * ce(s, y) + alpha * divergence(designed, s.logits, tau)


def tfkd_reg_probabilities(
    s: Output, y: Tensor, *, alpha: float, tau: float, a: float, tau_d: float
) -> Tensor:
    """(1 - α) H(q, p) + α D_KL(softmax(p^d / τ_d), p_τ): Eq. 9 with probabilities divided, as the code does.

    With τ_d = 10 the target of 10 classes is 0.109 and 0.099, as in the authors' figure of it.
    """
    target = softmax(virtual_teacher(s.logits, y, a=a) / tau_d, dim=1)
    soft = kl_div(log_softmax(s.logits / tau, dim=1), target, reduction="batchmean")
    return (1 - alpha) * ce(s, y) + alpha * soft


def tfkd_reg_released(
    s: Output, y: Tensor, *, alpha: float, tau: float, a: float, multiplier: float
) -> Tensor:
    """(1 - α) H(q, p) + α m / K · D_KL(softmax(p^d / τ), p): τ divides probabilities (:46).

    The student stays at temperature 1 and there is no τ²: the target is all but uniform.
    """
    K = s.logits.shape[1]
    target = softmax(virtual_teacher(s.logits, y, a=a) / tau, dim=1)
    soft = kl_div(log_softmax(s.logits, dim=1), target, reduction="batchmean") * (multiplier / K)
    return (1 - alpha) * ce(s, y) + alpha * soft


def divergence(t: Tensor, s: Tensor, tau: float | Tensor) -> Tensor:
    """D_KL(softmax(t / τ), softmax(s / τ)) of logits (N, K), mean over the batch; τ may be trained."""
    log_p_t, log_p = log_softmax(t.detach() / tau, dim=1), log_softmax(s / tau, dim=1)
    return kl_div(log_p, log_p_t, reduction="batchmean", log_target=True)


def virtual_teacher(z: Tensor, y: Tensor, *, a: float) -> Tensor:
    """p^d, (N, K): a on the class, (1 - a) / (K - 1) on each other; always right (Tf-KD, Eq. 8)."""
    K = z.shape[1]
    p = torch.full_like(z, (1 - a) / (K - 1), requires_grad=False)
    return p.scatter_(1, y.unsqueeze(1), a)
