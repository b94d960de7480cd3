"""CTKD's temperature: its value, its curriculum, and its reversed gradient."""

from math import cos, exp, log, pi

import pytest
import torch
from torch import Tensor

from kdbench.training.distillers.ctkd import CurriculumTemperature
from kdbench.training.losses_logits import kd_ls
from tests.support.distillers import CLASSES, built, output, step

Y = torch.arange(6) % CLASSES
S, T = output(2, 4), output(3, 5)


def made() -> CurriculumTemperature:
    ctkd = built("ctkd")
    assert isinstance(ctkd, CurriculumTemperature)
    return ctkd


def by_hand(z: Tensor, theta: float) -> Tensor:
    """The loss from the equation, class by class, without the functions of the class under test."""
    alpha, temperature = 0.9, 1 + 20 / (1 + exp(-theta))

    def logs(scores: Tensor) -> Tensor:
        return scores - scores.exp().sum(dim=1, keepdim=True).log()

    log_p, log_p_t = logs(z / temperature), logs(T.logits / temperature)
    hard = -logs(z)[torch.arange(6), Y].mean()
    soft = (log_p_t.exp() * (log_p_t - log_p)).sum(dim=1).mean()
    return (1 - alpha) * hard + alpha * temperature**2 * soft


@pytest.mark.parametrize("theta", [1.0, -2.0, 0.3])
def test_value_and_gradient_by_the_logits_are_those_of_the_equation(theta: float) -> None:
    ctkd = made()
    ctkd.load_state_dict({"theta": torch.tensor(theta, dtype=torch.float64)})
    z, same = (S.logits.clone().requires_grad_() for _ in range(2))
    value, wanted = ctkd(S._replace(logits=z), Y, T, step()), by_hand(same, theta)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)
    slope, slope_wanted = torch.autograd.grad(value + wanted, [z, same])
    torch.testing.assert_close(slope, slope_wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("epoch", "rise"), [(1, 0.5), (2, 1.0), (9, 1.0)])
def test_gradient_of_theta_is_reversed_and_rises_over_the_curriculum(epoch: int, rise: float) -> None:
    """Against finite differences of the value; a curriculum of 2 epochs is half way after the first."""
    ctkd, h = made(), 1e-5
    (found,) = torch.autograd.grad(ctkd(S, Y, T, step(epoch=epoch)), [ctkd.theta])
    slope = (by_hand(S.logits, 1 + h) - by_hand(S.logits, 1 - h)) / (2 * h)
    assert found.item() == pytest.approx(-rise * slope.item(), rel=1e-6)
    assert slope.item() != 0


def test_curriculum_is_a_cosine_over_its_epochs() -> None:
    """Of ten epochs as released: λ of the first is 0.024, of the fifth a half, of the tenth and later 1."""
    ctkd = made()
    ctkd.curriculum = 10.0
    slopes = []
    for epoch in range(1, 13):
        (slope,) = torch.autograd.grad(ctkd.temperature(epoch), [ctkd.theta])
        slopes.append(slope.item())
    share = 1 / (1 + exp(-1))
    full = 20 * share * (1 - share)  # dT/dθ at θ = 1
    wanted = [-full * (1 - cos(pi * min(epoch, 10) / 10)) / 2 for epoch in range(1, 13)]
    assert slopes == pytest.approx(wanted, rel=1e-12)


def test_temperature_starts_near_16_and_stays_within_its_range() -> None:
    ctkd = made()
    assert ctkd.temperature(1).item() == pytest.approx(1 + 20 / (1 + exp(-1)))
    for theta, wanted in ((log(1 / 3), 6.0), (-50.0, 1.0), (50.0, 21.0)):
        ctkd.load_state_dict({"theta": torch.tensor(theta, dtype=torch.float64)})
        assert ctkd.temperature(1).item() == pytest.approx(wanted)


def test_a_step_against_the_student_makes_its_task_harder() -> None:
    ctkd = made()
    before = ctkd(S, Y, T, step(epoch=2))
    (slope,) = torch.autograd.grad(before, [ctkd.theta])
    with torch.no_grad():
        ctkd.theta.sub_(0.1 * slope.sign())  # as plain descent goes
    assert ctkd(S, Y, T, step(epoch=2)).item() > before.item()


def test_standardized_logits_at_the_learned_temperature_are_kd_ls_at_this_one() -> None:
    """α = 0.9, m = 10, T = 2 + 40 σ(1): a loss with a fixed temperature has the same value."""
    ctkd = built("ctkd_ls")
    fixed = kd_ls(S, Y, T, alpha=0.9, tau=2 + 40 / (1 + exp(-1)), multiplier=10)
    assert ctkd(S, Y, T, step()).item() == pytest.approx(fixed.item(), rel=1e-6)
