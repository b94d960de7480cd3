"""Losses on logits of the field's tables: the authors' values and gradients, identities."""

import json

import pytest
import torch

from kdbench.models.output import Output
from kdbench.training.losses import ce, kd
from kdbench.training.losses_logits import confidence_penalty, dist, hinton_kd, kd_ls, kd_weighted
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


@pytest.mark.parametrize("method", ["kd", "kd_ls", "dist"])
def test_soft_term_equals_the_authors_code(method: str) -> None:
    (s, t), params = given(method), CASES[method]["params"]
    if method == "kd":
        value = hinton_kd(of(s), Y, of(t), alpha=1, tau=params["T"])
    elif method == "kd_ls":
        value = kd_ls(of(s), Y, of(t), alpha=1, tau=params["T"], multiplier=1)
    else:
        value = dist(of(s), Y, of(t), **params) - ce(of(s), Y)
    (gradient,) = torch.autograd.grad(value, s)
    assert value.item() == pytest.approx(CASES[method]["value"], abs=1e-9, rel=0)
    wanted = torch.tensor(CASES[method]["gradient"][0], dtype=torch.float64)
    torch.testing.assert_close(gradient, wanted, atol=1e-9, rtol=0)


def test_hinton_kd_at_temperature_one_is_kd_as_printed() -> None:
    s, t = given("kd")
    assert hinton_kd(of(s), Y, of(t), alpha=0.6, tau=1).equal(kd(of(s), Y, of(t), alpha=0.6, tau=1))


def test_weighted_kd_is_hintons_where_the_multiplier_is_one() -> None:
    s, t = given("kd")
    hinton, *weighted = (
        hinton_kd(of(s), Y, of(t), alpha=0.9, tau=2),
        *(kd_weighted(of(s), Y, of(t), alpha=0.9, tau=2, multiplier=m) for m in (1, 10)),
    )
    assert weighted[0].equal(hinton)
    torch.testing.assert_close(weighted[1] - 0.1 * ce(of(s), Y), 10 * (hinton - 0.1 * ce(of(s), Y)))


def test_kd_ls_is_blind_to_a_teachers_scale_and_shift() -> None:
    s, t = given("kd_ls")
    one, other = (kd_ls(of(s), Y, of(z), alpha=0.9, tau=2, multiplier=10) for z in (t, 3 * t + 1))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_dist_does_not_know_the_scale_of_the_teachers_probabilities() -> None:
    """Of an image: a teacher whose probabilities are mixed with uniform ones teaches the same."""
    s, t = given("dist")
    mixed = (0.3 * t.softmax(dim=1) + 0.7 / 6).log()
    one, other = (dist(of(s), Y, of(z), beta=2, gamma=0, tau=1) for z in (t, mixed))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_dist_of_equal_logits_is_cross_entropy() -> None:
    s, _ = given("dist")
    torch.testing.assert_close(dist(of(s), Y, of(s), beta=2, gamma=2, tau=4), ce(of(s), Y), atol=1e-3, rtol=0)


def test_confidence_penalty_is_the_divergence_from_uniform_up_to_a_constant() -> None:
    """-H(p) = D_KL(p, u) - ln K: Pereyra et al., section 3."""
    s, _ = given("kd")
    p = s.softmax(dim=1)
    apart = (p * (p.log() + torch.tensor(6.0).log())).sum(dim=1).mean()
    wanted = ce(of(s), Y) + 0.3 * (apart - torch.tensor(6.0).log())
    torch.testing.assert_close(confidence_penalty(of(s), Y, beta=0.3), wanted, atol=1e-6, rtol=0)
