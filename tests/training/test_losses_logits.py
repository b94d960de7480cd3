"""KD with τ² and with standardized logits: the authors' values and gradients, identities."""

import json

import pytest
import torch

from kdbench.models.output import Output
from kdbench.training.losses import kd
from kdbench.training.losses_logits import hinton_kd, kd_ls
from tests.support.places import GOLDEN

CASES = {
    case["method"]: case for case in json.loads((GOLDEN / "distillers.json").read_text("utf-8"))["cases"]
}
Y = torch.tensor([1, 3, 1, 5])


def of(logits: torch.Tensor) -> Output:
    return Output(logits, logits, torch.eye(6).to(logits), torch.zeros(6).to(logits))


def given(method: str) -> tuple[torch.Tensor, torch.Tensor]:
    s, t = (torch.tensor(CASES[method][key][0], dtype=torch.float64) for key in ("student", "teacher"))
    return s.requires_grad_(), t


@pytest.mark.parametrize("method", ["kd", "kd_ls"])
def test_soft_term_equals_the_authors_code(method: str) -> None:
    (s, t), tau = given(method), CASES[method]["params"]["T"]
    if method == "kd":
        value = hinton_kd(of(s), Y, of(t), alpha=1, tau=tau)
    else:
        value = kd_ls(of(s), Y, of(t), alpha=1, tau=tau, multiplier=1)
    (gradient,) = torch.autograd.grad(value, s)
    assert value.item() == pytest.approx(CASES[method]["value"], abs=1e-9, rel=0)
    wanted = torch.tensor(CASES[method]["gradient"][0], dtype=torch.float64)
    torch.testing.assert_close(gradient, wanted, atol=1e-9, rtol=0)


def test_hinton_kd_at_temperature_one_is_kd_as_printed() -> None:
    s, t = given("kd")
    assert hinton_kd(of(s), Y, of(t), alpha=0.6, tau=1).equal(kd(of(s), Y, of(t), alpha=0.6, tau=1))


def test_kd_ls_is_blind_to_a_teachers_scale_and_shift() -> None:
    s, t = given("kd_ls")
    one, other = (kd_ls(of(s), Y, of(z), alpha=0.9, tau=2, multiplier=10) for z in (t, 3 * t + 1))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
