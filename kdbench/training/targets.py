"""What the hard term of a loss is taught: the classes, or rows of probabilities made of them."""

from torch import Tensor


def hard_targets(
    y: Tensor, like: Tensor, smoothing: float, *, partners: Tensor | None = None, share: float = 1.0
) -> Tensor:
    """The targets of a batch: its classes as they are, unless the recipe makes something of them.

    Args:
        y: the classes, int64 (N,).
        like: the student's logits (N, K), whose type the probabilities get.
        smoothing: ε, the recipe's.
        partners: the classes of what the images are mixed with, int64 (N,).
        share: λ, what an image keeps of itself.

    Returns:
        int64 (N,), or probabilities (N, K) as `cross_entropy` takes them: (1 - ε) (λ q + (1 - λ) q') + ε / K.
    """
    if partners is None and not smoothing:
        return y
    q = one_hot(y, like)
    if partners is not None:
        q = one_hot(partners, like).mul_(1 - share).add_(q.mul(share))
    return (1 - smoothing) * q + smoothing / like.shape[1] if smoothing else q


def one_hot(y: Tensor, like: Tensor) -> Tensor:
    """Rows q (N, K) of classes, in the type of logits (N, K); torch's own brings numbers to Python first."""
    return like.new_zeros(like.shape).scatter_(1, y[:, None], 1)
