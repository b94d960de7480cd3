"""Targets of the hard term against torch's own label smoothing."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from kdbench.training.targets import hard_targets

Z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 3, 4, 0])


def test_classes_stay_as_they_are() -> None:
    assert hard_targets(Y, Z, 0.0) is Y


@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_smoothed_targets_give_torchs_label_smoothing(epsilon: float) -> None:
    """In value and gradient; so the recipe's label_smoothing under loss ce is the loss lsr."""
    one, other = (Z.clone().requires_grad_() for _ in range(2))
    found = cross_entropy(one, hard_targets(Y, one, epsilon))
    wanted = cross_entropy(other, Y, label_smoothing=epsilon)
    found.backward()  # type: ignore[no-untyped-call]
    wanted.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close((found, one.grad), (wanted, other.grad), rtol=1e-12, atol=1e-12)


def test_mixed_targets_give_the_mixed_loss() -> None:
    """As mixup's own code has it: λ of the loss of one class, the rest of the other's."""
    partners, share = Y.roll(1), 0.3
    found = cross_entropy(Z, hard_targets(Y, Z, 0.0, partners=partners, share=share))
    wanted = share * cross_entropy(Z, Y) + (1 - share) * cross_entropy(Z, partners)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_mixed_targets_are_smoothed_as_a_whole() -> None:
    q = hard_targets(Y, Z, 0.1, partners=Y.roll(1), share=0.3)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(6, dtype=torch.float64))
    assert q.min() == pytest.approx(0.1 / 5)
    assert q[1].topk(2).indices.tolist() == [0, 1]
