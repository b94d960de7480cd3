"""The losses against the authors' code, values worked out by hand, the paper's identities, gradients."""

import json
from collections.abc import Sequence
from inspect import Parameter, signature
from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div, one_hot, softmax

from kdbench import catalog
from kdbench.catalog import LOSSES
from kdbench.models.output import Output
from kdbench.training.losses import divergence, tfkd_reg_probabilities, virtual_teacher
from tests.support.places import GOLDEN

RELEASED = json.loads((GOLDEN / "tfkd_released_losses.json").read_text("utf-8"))
SETTINGS = {
    "alpha": 0.3,
    "tau": 4.0,
    "tau_d": 2.0,
    "a": 0.9,
    "epsilon": 0.1,
    "multiplier": 5.0,
    "epsilon1": 0.1,
    "epsilon2": 0.2,
    "T": 3.0,
    "lam": 3.0,
    "scale": 8.0,
    "beta": 0.5,
    "gamma": 1.5,
}
"""A value for each parameter that a loss takes."""
STUDENT = [[1.0, 2.0, 0.5], [0.1, -1.0, 0.3]]
TEACHER = [[0.5, 1.5, -1.0], [2.0, 0.0, 1.0]]
CLASSES = [1, 2]


def of(logits: Tensor) -> Output:
    """The output of a network whose classifier adds nothing: W is the identity, b is 0."""
    K = logits.shape[1]
    return Output(logits, logits, torch.eye(K, dtype=logits.dtype), logits.new_zeros(K))


def ring(K: int) -> Tensor:
    """A(x): the class before and the class after."""
    near = torch.eye(K, dtype=torch.uint8)
    return near.roll(1, 0) | near.roll(-1, 0)


def call(name: str, s: Tensor, y: Tensor, t: Tensor, **params: float) -> Tensor:
    """A loss of the catalog; the teacher's logits are given to those that take a teacher."""
    function, entry = catalog.load(LOSSES[name].code), LOSSES[name]
    also = [of(t)] if entry.teacher else [ring(s.shape[1])] if entry.neighbours else []
    value: Tensor = function(of(s), y, *also, **params)
    return value


def any_params(name: str) -> dict[str, float]:
    return {key: SETTINGS[key] for key in LOSSES[name].params}


def batch(n: int = 4, K: int = 7, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a student, the classes, logits of a teacher; float64."""
    generator = torch.Generator().manual_seed(0)
    s, t = (scale * torch.randn(n, K, generator=generator, dtype=torch.float64) for _ in range(2))
    return s.requires_grad_(), torch.randint(K, (n,), generator=generator), t


def slope(name: str, s: Tensor, y: Tensor, t: Tensor, **params: float) -> Tensor:
    (gradient,) = torch.autograd.grad(call(name, s, y, t, **params), s)
    return gradient


def tempered(z: Sequence[float], tau: float = 1.0) -> list[float]:
    total = sum(exp(each / tau) for each in z)
    return [exp(each / tau) / total for each in z]


def cross_entropy(q: Sequence[float], p: Sequence[float]) -> float:
    return -sum(each * log(other) for each, other in zip(q, p, strict=True))


def relative_entropy(q: Sequence[float], p: Sequence[float]) -> float:
    return sum(each * log(each / other) for each, other in zip(q, p, strict=True))


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum(dim=1).mean()


def on_class(c: int, there: float, elsewhere: float) -> list[float]:
    return [there if k == c else elsewhere for k in range(3)]


def small(name: str, **params: float) -> float:
    s, t = torch.tensor(STUDENT, dtype=torch.float64), torch.tensor(TEACHER, dtype=torch.float64)
    return call(name, s, torch.tensor(CLASSES), t, **params).item()


@pytest.mark.parametrize("case", RELEASED["cases"], ids=lambda case: f"{case['loss']} {case['params']}")
def test_released_loss_equals_the_authors_code(case: dict[str, Any]) -> None:
    s, wanted = (torch.tensor(case[key], dtype=torch.float64) for key in ("student_logits", "grad_student"))
    t = torch.tensor(case["teacher_logits"] or [], dtype=torch.float64)
    params = case["params"] | ({"a": 0.99} if case["loss"] == "tfkd_reg" else {})
    value = call(f"{case['loss']}_released", s.requires_grad_(), torch.tensor(case["labels"]), t, **params)
    value.backward()  # type: ignore[no-untyped-call]
    precision = 1e-7 if case["loss"] == "lsr" else 1e-10  # the authors' lsr has a float32 target: see below
    assert value.item() == pytest.approx(case["value"], abs=precision, rel=0)
    torch.testing.assert_close(s.grad, wanted, atol=precision, rtol=0)


def test_released_lsr_differs_from_the_authors_code_by_its_float32_target_alone() -> None:
    case = next(case for case in RELEASED["cases"] if case["loss"] == "lsr")
    s, y = torch.tensor(case["student_logits"], dtype=torch.float64), torch.tensor(case["labels"])
    target = virtual_teacher(s.float(), y, a=1 - case["params"]["epsilon"]).double()
    value = -(target * s.log_softmax(dim=1)).sum(dim=1).mean()
    assert value.item() == pytest.approx(case["value"], abs=1e-10, rel=0)


def test_ce_by_hand() -> None:
    by_hand = [-log(tempered(z)[c]) for z, c in zip(STUDENT, CLASSES, strict=True)]
    assert small("ce") == pytest.approx(sum(by_hand) / 2, abs=1e-12)


def test_lsr_by_hand() -> None:
    epsilon = 0.3
    targets = [on_class(c, 1 - epsilon + epsilon / 3, epsilon / 3) for c in CLASSES]
    by_hand = [cross_entropy(q, tempered(z)) for q, z in zip(targets, STUDENT, strict=True)]
    assert small("lsr", epsilon=epsilon) == pytest.approx(sum(by_hand) / 2, abs=1e-12)


def test_lsr_released_by_hand_spreads_epsilon_over_the_others() -> None:
    targets = [on_class(c, 0.7, 0.3 / 2) for c in CLASSES]
    by_hand = [cross_entropy(q, tempered(z)) for q, z in zip(targets, STUDENT, strict=True)]
    assert small("lsr_released", epsilon=0.3) == pytest.approx(sum(by_hand) / 2, abs=1e-12)


@pytest.mark.parametrize("name", ["kd", "tfkd_self"])
def test_printed_distillation_by_hand(name: str) -> None:
    by_hand = [
        0.2 * -log(tempered(s)[c]) + 0.8 * relative_entropy(tempered(t, 3), tempered(s, 3))
        for s, t, c in zip(STUDENT, TEACHER, CLASSES, strict=True)
    ]
    assert small(name, alpha=0.8, tau=3) == pytest.approx(sum(by_hand) / 2, abs=1e-12)


def test_tfkd_reg_by_hand() -> None:
    """softmax(log p^d / τ) is p^d to the power of 1 / τ, normalised."""
    a, b = 0.9 ** (1 / 5), 0.05 ** (1 / 5)
    by_hand = [
        0.9 * -log(tempered(s)[c])
        + 0.1 * relative_entropy(on_class(c, a / (a + 2 * b), b / (a + 2 * b)), tempered(s, 5))
        for s, c in zip(STUDENT, CLASSES, strict=True)
    ]
    assert small("tfkd_reg", alpha=0.1, tau=5, a=0.9) == pytest.approx(sum(by_hand) / 2, abs=1e-12)


def test_lsr_splits_as_equation_2() -> None:
    s, y, t = batch()
    K = s.shape[1]
    log_p = s.log_softmax(dim=1)
    from_uniform = (torch.full_like(s, 1 / K) * (-log(K) - log_p)).sum(dim=1).mean()
    split = 0.9 * call("ce", s, y, t) + 0.1 * (from_uniform + log(K))
    torch.testing.assert_close(call("lsr", s, y, t, epsilon=0.1), split, atol=1e-12, rtol=0)


def test_kd_at_temperature_one_is_cross_entropy_with_a_softened_target() -> None:
    """Eqs. 5 and 6; the teacher's entropy, a constant, is what Eq. 5 leaves out."""
    s, y, t = batch()
    target = 0.4 * one_hot(y, s.shape[1]).double() + 0.6 * softmax(t, dim=1)
    H_soft = -(target * s.log_softmax(dim=1)).sum(dim=1).mean()
    wanted = H_soft - 0.6 * entropy(softmax(t, dim=1))
    torch.testing.assert_close(call("kd", s, y, t, alpha=0.6, tau=1), wanted, atol=1e-12, rtol=0)


def test_kd_by_an_indifferent_teacher_is_label_smoothing() -> None:
    """Eqs. 3 and 4: they differ by α H(u)."""
    s, y, _ = batch()
    kd = call("kd", s, y, torch.zeros_like(s), alpha=0.2, tau=1)
    wanted = call("lsr", s, y, s, epsilon=0.2) - 0.2 * log(s.shape[1])
    torch.testing.assert_close(kd, wanted, atol=1e-12, rtol=0)


def test_kd_teaches_nothing_as_temperature_grows() -> None:
    """The soft term's gradient is α (p_τ - p^t_τ) / τ, which vanishes with τ²: no τ² is printed."""
    s, y, t = batch()
    off = slope("kd", s, y, t, alpha=0.95, tau=1e4) - 0.05 * slope("ce", s, y, t)
    assert 0 < off.abs().max() < 1e-7


def test_kd_compares_centred_logits_as_temperature_grows() -> None:
    s, y, t = batch()
    tau = 1e4
    soft = tau**2 * (slope("kd", s, y, t, alpha=0.5, tau=tau) - 0.5 * slope("ce", s, y, t)) / 0.5
    difference = s.detach() - t
    wanted = (difference - difference.mean(dim=1, keepdim=True)) / s.numel()
    torch.testing.assert_close(soft, wanted, atol=1e-4, rtol=1e-3)


def test_divergence_of_equal_logits_is_zero() -> None:
    s, _, _ = batch()
    assert divergence(s, s, 3.0).item() == pytest.approx(0, abs=1e-15)


def test_virtual_teacher_is_always_right() -> None:
    y = torch.arange(100)
    p = virtual_teacher(torch.randn(100, 100, dtype=torch.float64), y, a=0.5)
    assert p.argmax(dim=1).equal(y)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(100, dtype=torch.float64), atol=1e-12, rtol=0)


def test_virtual_teacher_by_hand() -> None:
    p = virtual_teacher(torch.zeros(2, 3), torch.tensor(CLASSES), a=0.9)
    torch.testing.assert_close(p, torch.tensor([[0.05, 0.9, 0.05], [0.05, 0.05, 0.9]]))


def test_tfkd_reg_at_temperature_one_is_label_smoothing() -> None:
    """p^d mixes q with u: its share of u is ε = K (1 - a) / (K - 1)."""
    s, y, t = batch()
    alpha, a, K = 0.3, 0.9, s.shape[1]
    epsilon = alpha * K * (1 - a) / (K - 1)
    constant = alpha * entropy(virtual_teacher(s.detach(), y, a=a))
    wanted = call("lsr", s, y, t, epsilon=epsilon) - constant
    torch.testing.assert_close(call("tfkd_reg", s, y, t, alpha=alpha, tau=1, a=a), wanted, atol=1e-12, rtol=0)


def test_kd_released_weighs_the_soft_term_by_tau_squared_over_classes() -> None:
    s, y, t = batch()
    hard = 0.4 * call("ce", s, y, t)
    soft = call("kd", s, y, t, alpha=0.6, tau=5) - hard
    released = call("kd_released", s, y, t, alpha=0.6, tau=5)
    torch.testing.assert_close(released, hard + soft * 25 / s.shape[1], atol=1e-12, rtol=0)


def test_kd_released_is_tfkd_self_released_without_a_multiplier() -> None:
    s, y, t = batch()
    alone = call("kd_released", s, y, t, alpha=0.6, tau=5)
    assert alone.equal(call("tfkd_self_released", s, y, t, alpha=0.6, tau=5, multiplier=1))


def test_lsr_released_is_lsr_with_a_little_less_on_the_class() -> None:
    """ε / (K - 1) on each other class is the paper's label smoothing with ε K / (K - 1)."""
    s, y, t = batch()
    stronger = 0.1 * s.shape[1] / (s.shape[1] - 1)
    wanted = call("lsr", s, y, t, epsilon=stronger)
    torch.testing.assert_close(call("lsr_released", s, y, t, epsilon=0.1), wanted, atol=1e-12, rtol=0)


def test_tfkd_reg_released_target_is_all_but_uniform() -> None:
    """1.25e-5 nats from uniform for the paper's a, τ and K."""
    p = virtual_teacher(torch.zeros(1, 100, dtype=torch.float64), torch.tensor([0]), a=0.99)
    distance = log(100) - entropy(softmax(p / 20, dim=1)).item()
    assert distance == pytest.approx(1.2525e-5, rel=1e-4)


@pytest.mark.parametrize(
    ("alpha", "tau", "multiplier", "epsilon", "scale"),
    [(0.1, 20, 100, 0.100, 1.0), (0.1, 40, 50, 0.053, 0.95), (0.95, 40, 1, 0.160, 0.0595)],
    ids=["resnet18", "googlenet", "mobilenetv2"],
)
def test_tfkd_reg_released_is_label_smoothing(
    alpha: float, tau: float, multiplier: float, epsilon: float, scale: float
) -> None:
    """Exactly, with the share of u in the target: ε to three digits is what the released values come to."""
    s, y, t = batch(8, 100)
    e = exp(0.99 / tau - 0.01 / 99 / tau)
    share = 100 / (99 + e)
    exact = alpha * multiplier / 100 * share / scale
    released = slope("tfkd_reg_released", s, y, t, alpha=alpha, tau=tau, a=0.99, multiplier=multiplier)
    wanted = scale * slope("lsr", s, y, t, epsilon=exact)
    torch.testing.assert_close(released, wanted, atol=1e-15, rtol=1e-10)
    assert exact == pytest.approx(epsilon, abs=5e-4)


def test_tfkd_reg_released_of_resnet18_differs_from_label_smoothing_by_a_hair() -> None:
    """ε = 0.09995 against 0.1: the gradients of an image differ by 5.07e-5 (q - u)."""
    s, y, t = batch(8, 100)
    released = slope("tfkd_reg_released", s, y, t, alpha=0.1, tau=20, a=0.99, multiplier=100)
    apart = 8 * (released - slope("lsr", s, y, t, epsilon=0.1))
    wanted = -5.07e-5 * (one_hot(y, 100).double() - 1 / 100)
    torch.testing.assert_close(apart, wanted, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradient_is_that_of_its_value(name: str) -> None:
    s, y, t = batch()
    assert torch.autograd.gradcheck(lambda z: call(name, z, y, t, **any_params(name)), (s,))


@pytest.mark.parametrize("name", [name for name, entry in LOSSES.items() if entry.teacher])
def test_loss_leaves_the_teacher_alone(name: str) -> None:
    s, y, t = batch()
    value = call(name, s, y, t.requires_grad_(), **any_params(name))
    value.backward()  # type: ignore[no-untyped-call]
    assert t.grad is None
    assert s.grad is not None


@pytest.mark.parametrize("name", [name for name, entry in LOSSES.items() if entry.teacher])
def test_loss_depends_on_the_teacher(name: str) -> None:
    s, y, t = batch()
    params = any_params(name)
    assert call(name, s, y, t, **params).item() != call(name, s, y, -t, **params).item()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "dist"])
def test_loss_is_the_mean_over_the_batch(name: str) -> None:
    s, y, t = batch()
    params = any_params(name)
    each = [call(name, s[i : i + 1], y[i : i + 1], t[i : i + 1], **params) for i in range(len(y))]
    torch.testing.assert_close(call(name, s, y, t, **params), torch.stack(each).mean(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_a_scalar_of_the_logits_type(name: str, dtype: torch.dtype) -> None:
    s, y, t = batch()
    value = call(name, s.to(dtype), y, t.to(dtype), **any_params(name))
    assert (value.dtype, value.shape) == (dtype, ())


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_extreme_logits_and_its_gradient_are_finite(name: str) -> None:
    s, y, t = batch(scale=1e4)
    s = s.detach().float().requires_grad_()
    value = call(name, s, y, t.float(), **any_params(name))
    assert value.isfinite()
    assert torch.autograd.grad(value, s)[0].isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_catalog_states_what_the_function_takes(name: str) -> None:
    entry = LOSSES[name]
    takes = signature(catalog.load(entry.code)).parameters.values()
    named = [each for each in takes if each.kind is Parameter.KEYWORD_ONLY]
    given = [each.name for each in takes if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    assert [each.name for each in named] == list(entry.params)
    assert given == ["s", "y", *(["t"] if entry.teacher else ["A"] if entry.neighbours else [])]
    assert all(each.default is Parameter.empty for each in takes)


def test_target_of_the_divided_probabilities_is_that_of_the_authors_figure() -> None:
    """K = 10, a = 0.99: softmax(p^d / 10) is 0.109 on the class and 0.099 on each other."""
    p = virtual_teacher(torch.zeros(1, 10, dtype=torch.float64), torch.tensor([3]), a=0.99)
    target = softmax(p / 10, dim=1)[0]
    assert [round(float(target[k]), 3) for k in (3, 0)] == [0.109, 0.099]


def test_gradient_of_the_divided_probabilities_is_that_of_the_formula() -> None:
    """d / dz D_KL(q, p_τ) = (p_τ - q) / τ."""
    z = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.tensor([0, 3, 6, 3])
    loss = tfkd_reg_probabilities(of(z), y, alpha=0.3, tau=5.0, a=0.9, tau_d=2.0)
    [found] = torch.autograd.grad(loss, z)
    target = softmax(virtual_teacher(z.detach(), y, a=0.9) / 2, dim=1)
    hard = softmax(z, dim=1) - one_hot(y, 7)
    soft = (softmax(z / 5, dim=1) - target) / 5
    torch.testing.assert_close(found, ((0.7 * hard + 0.3 * soft) / 4).detach())


@pytest.mark.parametrize("name", [name for name in LOSSES if "/ K" in LOSSES[name].formula])
def test_division_by_the_classes_does_not_hang_on_what_mean_of_kl_div_means(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch has announced that "mean" will divide by the images alone: released code will change."""
    params = {key: SETTINGS[key] for key in LOSSES[name].ranges}
    s, t = torch.tensor(STUDENT), torch.tensor(TEACHER)
    now = call(name, s, torch.tensor(CLASSES), t, **params)

    def announced(p: Tensor, q: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
        meant = "batchmean" if reduction == "mean" else reduction
        return kl_div(p, q, reduction=meant, log_target=log_target)

    monkeypatch.setattr("kdbench.training.losses.kl_div", announced)
    assert call(name, s, torch.tensor(CLASSES), t, **params).equal(now)
