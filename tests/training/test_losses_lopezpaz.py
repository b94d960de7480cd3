"""Generalized distillation: by hand, where λ and T end, and what it has in common with other losses."""

from math import log

import pytest
import torch
from torch import Tensor

from kdbench.models.output import Output
from kdbench.training.losses import ce
from kdbench.training.losses_lopezpaz import lopezpaz, lopezpaz_released

Y = torch.tensor([0, 1])
NOTHING = torch.empty(0)


def output(*rows: list[float]) -> Output:
    return Output(torch.tensor(rows, dtype=torch.float64, requires_grad=True), NOTHING)


S, TEACHER = output([log(3), 0.0], [0.0, 0.0]), output([4 * log(2), 0.0], [0.0, 4 * log(4)])


def by_hand(T2: float) -> float:
    """λ = 0.25, T = 4: p = (3/4, 1/4), (1/2, 1/2); p^t_T = (2/3, 1/3), (1/5, 4/5)."""
    hard = -(log(3 / 4) + log(1 / 2)) / 2
    soft = -(2 / 3 * log(3 / 4) + 1 / 3 * log(1 / 4) + log(1 / 2)) / 2
    return 0.75 * hard + 0.25 * T2 * soft


def test_lopezpaz_by_hand() -> None:
    assert lopezpaz(S, Y, TEACHER, lam=0.25, T=4).item() == pytest.approx(by_hand(1), rel=1e-12)


def test_released_weighs_the_soft_term_by_the_square_of_the_temperature() -> None:
    assert lopezpaz_released(S, Y, TEACHER, lam=0.25, T=4).item() == pytest.approx(by_hand(16), rel=1e-12)


@pytest.mark.parametrize("loss", [lopezpaz, lopezpaz_released])
def test_student_alone_is_cross_entropy(loss: object) -> None:
    assert callable(loss)
    assert loss(S, Y, TEACHER, lam=0.0, T=50).item() == pytest.approx(ce(S, Y).item(), rel=1e-12)


def gradient(loss: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, S.logits)
    return found


def test_gradient_draws_the_untempered_student_to_the_softened_teacher() -> None:
    """λ = 1: T² (p - p^t_T) / N; the student's own softmax has temperature 1."""
    found = gradient(lopezpaz_released(S, Y, TEACHER, lam=1.0, T=4))
    softened = torch.tensor([[2 / 3, 1 / 3], [1 / 5, 4 / 5]], dtype=torch.float64)
    torch.testing.assert_close(found, 16 * (S.logits.softmax(dim=1).detach() - softened) / 2)
