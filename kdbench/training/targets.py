"""What the hard term of a loss is taught: the classes, or rows of probabilities made of them."""

from torch import Tensor
from torch.nn.functional import one_hot


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
    K = like.shape[1]
    q = one_hot(y, K).to(like.dtype)
    if partners is not None:
        q = one_hot(partners, K).to(like.dtype).mul_(1 - share).add_(q.mul(share))
    return (1 - smoothing) * q + smoothing / K if smoothing else q
