"""The losses of FNKD, each under its equation, as printed and (NAME_released) as the authors' code has it.

Paper: Xu et al., Feature Normalized Knowledge Distillation for Image Classification, ECCV 2020. Code:
aztc/FNKD at 099b6ca, train_gluon_script_cifar.py and models/symbol_Resnet_cifar.py.

    s, t     what student and teacher put out: features f (N, D), logits z = W f + b (N, K); ^t: the teacher's
    v        W f, (N, K): the logits without the bias
    y        the classes, (N,) of int64; q: the same as one-hot rows, (N, K)
    A        (K, K): row y is 1 at the classes near y, A(x) of an image of class y; ρ = 1 / |A(x)| on A(x)
    σ        softmax; p = σ(z)
    u        1 / K for every class
    H(q, p)  cross-entropy, - Σ_k q(k) log p(k), mean over the batch

As in losses.py: any floating type, the mean over the batch, a teacher's output is a constant.
"""

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy, one_hot, softmax

from kdbench.errors import UserError
from kdbench.models.output import Output

LEAST = 1e-12
"""Below this a norm counts as this: features that are all 0 have no direction."""


def lsd(s: Output, y: Tensor, *, epsilon1: float) -> Tensor:
    """H(q_lsd, p), q_lsd = (1 - ε₁) q + ε₁ u: label smoothing, the same filter in all directions."""
    return cross_entropy(s.logits, y, label_smoothing=epsilon1)


def alsd(s: Output, y: Tensor, A: Tensor, *, epsilon1: float, epsilon2: float) -> Tensor:
    """H(q_alsd, p), q_alsd = (1 - ε₁ - ε₂) q + ε₁ u + ε₂ ρ: more on the classes that look alike.

    A class that none is near keeps ε₂ itself: ρ = q.
    """
    K = s.logits.shape[1]
    near, q = A[y].to(s.logits), one_hot(y, K).to(s.logits)
    count = near.sum(dim=1, keepdim=True)
    rho = near / count.clamp(min=1) + (count == 0) * q
    return cross_entropy(s.logits, (1 - epsilon1 - epsilon2) * q + epsilon1 / K + epsilon2 * rho)


def fnkd_kd(s: Output, y: Tensor, t: Output, *, alpha: float, T: float) -> Tensor:
    """(1 - α) H(q, σ(z)) + α H(q_kd, σ(z / T)), q_kd = σ(z^t / T): as FNKD prints KD, without T²."""
    return (1 - alpha) * cross_entropy(s.logits, y) + alpha * soft(t.logits / T, s.logits / T)


def fnkd_kd_released(s: Output, y: Tensor, t: Output, *, alpha: float, T: float) -> Tensor:
    """(1 - α) H(q, σ(z)) + α T² H(q_kd, σ(z / T)): GluonCV's loss, with α = 0.5 and T = 3."""
    return fnkd_kd(s, y, t, alpha=alpha, T=T) + alpha * (T**2 - 1) * soft(t.logits / T, s.logits / T)


def fnkd(s: Output, y: Tensor, t: Output, *, lam: float, tau: float) -> Tensor:
    """H(q, σ(z)) + λ² H(q_fn, σ(τ v / ‖f‖)), q_fn = σ(τ v^t / ‖f^t‖) (FNKD, Eqs. 10 to 12).

    Each network is divided by its own norm, of which the gradient is taken as of everything else.
    """
    taught, given = (tau * unbiased(each) / norm(each) for each in (t, s))
    return cross_entropy(s.logits, y) + lam**2 * soft(taught, given)


def fnkd_released(s: Output, y: Tensor, t: Output, *, lam: float, tau: float) -> Tensor:
    """H(q, σ(z)) + λ² H(σ(c^t v^t + b^t), σ(c v + b)), c = min(‖f‖, τ) / ‖f‖; λ² = 9, τ = 2.

    Features shorter than τ stay as they are, where the paper's are stretched; the bias is added, unscaled.
    """
    taught, given = (clipped(each, tau) for each in (t, s))
    return cross_entropy(s.logits, y) + lam**2 * soft(taught, given)


def he(s: Output, y: Tensor, *, scale: float) -> Tensor:
    """H(q, σ(s cos θ)), cos θ_k = W_k · f / (‖W_k‖ ‖f‖), s = scale: hypersphere embedding.

    The student is judged by what it was trained for, the largest cosine (`he_scores`), and not by its
    logits: those differ in the norms of W's rows, along which this loss has no slope, and in the bias, which
    it never sees, so that a random initial bias would decide.
    """
    return cross_entropy(he_scores(s, scale=scale), y)


def he_scores(s: Output, *, scale: float) -> Tensor:
    """s cos θ, (N, K)."""
    rows: Tensor = vector_norm(head(s), dim=1).clamp_min(LEAST)
    return scale * unbiased(s) / (norm(s) * rows)


def soft(taught: Tensor, given: Tensor) -> Tensor:
    """H(σ(taught), σ(given)) of logits (N, K); what is taught is a constant."""
    return cross_entropy(given, softmax(taught.detach(), dim=1))


def norm(s: Output) -> Tensor:
    """‖f‖, (N, 1)."""
    lengths: Tensor = vector_norm(s.features, dim=1, keepdim=True)
    return lengths.clamp_min(LEAST)


def unbiased(s: Output) -> Tensor:
    """v = W f = z - b, (N, K)."""
    head(s)  # without W, no bias does not mean b = 0
    return s.logits if s.bias is None else s.logits - s.bias


def head(s: Output) -> Tensor:
    """W, (K, D).

    Raises:
        UserError: the network does not give its classifier.
    """
    if s.weight is None:
        raise UserError(
            "this loss needs the classifier's W and b, and the network's Output has none; "
            "return Output(logits, features, weight, bias), as kdbench's own networks do"
        )
    return s.weight


def clipped(s: Output, tau: float) -> Tensor:
    """c v + b, (N, K): the logits of the features cut to length τ, c = min(‖f‖, τ) / ‖f‖."""
    length = norm(s)
    v = unbiased(s)
    cut = v * (length.clamp_max(tau) / length)
    return cut if s.bias is None else cut + s.bias
