"""FNKD's losses: values worked out by hand, identities and gradients, printed against released."""

from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import one_hot, softmax

from kdbench.errors import UserError
from kdbench.models.output import Output
from kdbench.training import losses, losses_fnkd
from kdbench.training.losses_fnkd import (
    alsd,
    fnkd,
    fnkd_kd,
    fnkd_kd_released,
    fnkd_released,
    he,
    he_scores,
    lsd,
)

K, D, N = 5, 4, 6
CLASSES = [1, 2]
FEATURES = [[3.0, 4.0], [0.6, 0.8]]
"""Of norms 5 and 1."""
W = [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]
B = [0.5, -0.5, 0.0]
TEACHER = [[1.0, 0.0], [0.0, 3.0]]


def network(f: Tensor, weight: Tensor, bias: Tensor | None = None) -> Output:
    """What a network with these features and this classifier puts out."""
    v = f @ weight.T
    return Output(v if bias is None else v + bias, f, weight, bias)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_norm(f: Tensor, length: float) -> Tensor:
    found: Tensor = f * length / f.norm(dim=1, keepdim=True)
    return found


def batch(length: float | None = None, *, bias: bool = False) -> tuple[Output, Tensor, Output]:
    """A student, classes, a teacher; all features of one norm if asked for."""
    parts = []
    for seed in (0, 10):
        f = draw(N, D, seed=seed) if length is None else of_norm(draw(N, D, seed=seed), length)
        parts.append(network(f, draw(K, D, seed=seed + 1), draw(K, seed=seed + 2) if bias else None))
    return parts[0], torch.arange(N) % K, parts[1]


def small(*, bias: bool = False) -> tuple[Output, Tensor, Output]:
    """The numbers of the cases by hand: 2 images, 3 classes."""
    weight, b = torch.tensor(W, dtype=torch.float64), torch.tensor(B, dtype=torch.float64)
    s, t = (
        network(torch.tensor(f, dtype=torch.float64), weight, b if bias else None)
        for f in (FEATURES, TEACHER)
    )
    return s, torch.tensor(CLASSES), t


def tempered(z: list[float]) -> list[float]:
    total = sum(map(exp, z))
    return [exp(each) / total for each in z]


def cross(q: list[float], z: list[float]) -> float:
    return -sum(each * log(p) for each, p in zip(q, tempered(z), strict=True))


def by_hand(f: list[float], bias: list[float], scale: float = 1.0) -> list[float]:
    """scale * W f + b."""
    return [scale * (w[0] * f[0] + w[1] * f[1]) + b for w, b in zip(W, bias, strict=True)]


def hard(c: int, z: list[float]) -> float:
    return -log(tempered(z)[c])


ZERO = [0.0, 0.0, 0.0]


def test_alsd_by_hand() -> None:
    s, y, _ = small()
    A = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 1, 0]])
    targets = [[0.1 + 0.2, 0.5 + 0.1, 0.1], [0.1, 0.1 + 0.2, 0.5 + 0.1]]
    wanted = sum(cross(q, by_hand(f, ZERO)) for q, f in zip(targets, FEATURES, strict=True)) / 2
    assert alsd(s, y, A, epsilon1=0.3, epsilon2=0.2).item() == pytest.approx(wanted, abs=1e-12)


def test_fnkd_kd_by_hand() -> None:
    s, y, t = small()
    each = [
        0.4 * hard(c, by_hand(f, ZERO))
        + 0.6 * cross(tempered(by_hand(g, ZERO, 1 / 3)), by_hand(f, ZERO, 1 / 3))
        for f, g, c in zip(FEATURES, TEACHER, CLASSES, strict=True)
    ]
    assert fnkd_kd(s, y, t, alpha=0.6, T=3).item() == pytest.approx(sum(each) / 2, abs=1e-12)


def test_fnkd_by_hand_leaves_the_bias_out_of_the_soft_term() -> None:
    s, y, t = small(bias=True)
    norms, taught = [5.0, 1.0], [1.0, 3.0]
    each = [
        hard(c, by_hand(f, B)) + 9 * cross(tempered(by_hand(g, ZERO, 2 / m)), by_hand(f, ZERO, 2 / n))
        for f, g, c, n, m in zip(FEATURES, TEACHER, CLASSES, norms, taught, strict=True)
    ]
    assert fnkd(s, y, t, lam=3, tau=2).item() == pytest.approx(sum(each) / 2, abs=1e-12)


def test_fnkd_released_by_hand_cuts_long_features_and_adds_the_bias() -> None:
    s, y, t = small(bias=True)
    cuts, taught = [2 / 5, 1.0], [1.0, 2 / 3]
    each = [
        hard(c, by_hand(f, B)) + 9 * cross(tempered(by_hand(g, B, m)), by_hand(f, B, n))
        for f, g, c, n, m in zip(FEATURES, TEACHER, CLASSES, cuts, taught, strict=True)
    ]
    assert fnkd_released(s, y, t, lam=3, tau=2).item() == pytest.approx(sum(each) / 2, abs=1e-12)


def test_he_by_hand() -> None:
    s, y, _ = small(bias=True)
    cosines = [[0.6, 0.8, 1.4 / sqrt(2)], [0.6, 0.8, 1.4 / sqrt(2)]]
    each = [hard(c, [10 * cos for cos in z]) for z, c in zip(cosines, CLASSES, strict=True)]
    assert he(s, y, scale=10).item() == pytest.approx(sum(each) / 2, abs=1e-12)


def test_lsd_is_tfkds_label_smoothing() -> None:
    s, y, _ = batch()
    assert lsd(s, y, epsilon1=0.3).equal(losses.lsr(s, y, epsilon=0.3))


def test_alsd_without_epsilon2_is_lsd() -> None:
    s, y, _ = batch()
    A = torch.eye(K).roll(1, 0)
    torch.testing.assert_close(alsd(s, y, A, epsilon1=0.2, epsilon2=0), lsd(s, y, epsilon1=0.2))


def test_alsd_of_a_class_that_none_is_near_keeps_epsilon2() -> None:
    s, y, _ = batch()
    A = torch.zeros(K, K, dtype=torch.uint8)
    torch.testing.assert_close(alsd(s, y, A, epsilon1=0.1, epsilon2=0.2), lsd(s, y, epsilon1=0.1))


def test_alsd_of_classes_that_are_all_near_is_lsd() -> None:
    """ρ is then uniform on the others: (K u - q) / (K - 1)."""
    s, y, _ = batch()
    value = alsd(s, y, 1 - torch.eye(K), epsilon1=0.1, epsilon2=0.2)
    torch.testing.assert_close(value, lsd(s, y, epsilon1=0.1 + 0.2 * K / (K - 1)))


def test_fnkd_kd_is_tfkds_kd_plus_the_teachers_entropy() -> None:
    s, y, t = batch()
    q = softmax(t.logits / 3, dim=1)
    entropy = -(q * q.log()).sum(dim=1).mean()
    wanted = losses.kd(s, y, t, alpha=0.7, tau=3) + 0.7 * entropy
    torch.testing.assert_close(fnkd_kd(s, y, t, alpha=0.7, T=3), wanted)


def test_fnkd_kd_released_differs_by_the_square_of_the_temperature_alone() -> None:
    s, y, t = batch()
    soft = fnkd_kd(s, y, t, alpha=1, T=3)
    wanted = 0.5 * losses.ce(s, y) + 0.5 * 9 * soft
    torch.testing.assert_close(fnkd_kd_released(s, y, t, alpha=0.5, T=3), wanted)
    at_one = fnkd_kd_released(s, y, t, alpha=0.5, T=1)
    torch.testing.assert_close(at_one, fnkd_kd(s, y, t, alpha=0.5, T=1), rtol=0, atol=0)


@pytest.mark.parametrize("length", [0.5, 2.0, 11.0])
def test_fnkd_with_constant_norms_is_kd_at_temperature_norm_over_tau(length: float) -> None:
    """Times 1 + λ², with α = λ² / (1 + λ²); networks without bias."""
    s, y, t = batch(length)
    wanted = 10 * fnkd_kd(s, y, t, alpha=0.9, T=length / 2)
    torch.testing.assert_close(fnkd(s, y, t, lam=3, tau=2), wanted)


def test_fnkd_released_is_fnkd_where_features_are_long_and_there_is_no_bias() -> None:
    s, y, t = batch(2.5)
    torch.testing.assert_close(fnkd_released(s, y, t, lam=3, tau=2), fnkd(s, y, t, lam=3, tau=2))


def test_fnkd_released_leaves_short_features_alone() -> None:
    """Below τ its soft term is KD's at temperature 1, while the printed one stretches the features to τ."""
    s, y, t = batch(0.5, bias=True)
    wanted = losses.ce(s, y) + 9 * fnkd_kd(s, y, t, alpha=1, T=1)
    torch.testing.assert_close(fnkd_released(s, y, t, lam=3, tau=2), wanted)
    assert abs(fnkd(s, y, t, lam=3, tau=2) - wanted) > 0.1


def test_released_fnkd_is_twice_released_kd_where_all_norms_are_tau_times_temperature() -> None:
    """Without bias: 1 and 9 against 0.5 and 0.5 · 9; ‖f‖ = τ T = 6 for student and teacher."""
    s, y, t = batch(6.0)
    twice = 2 * fnkd_kd_released(s, y, t, alpha=0.5, T=3)
    torch.testing.assert_close(fnkd_released(s, y, t, lam=3, tau=2), twice)


def test_released_fnkd_moves_the_classifier_twice_as_far_as_released_kd() -> None:
    """At these norms the gradient of W is twice KD's; that of f loses the soft term's part along f."""
    f, weight = of_norm(draw(N, D), 6.0).requires_grad_(), draw(K, D, seed=1).requires_grad_()
    _, y, t = batch(6.0)
    s = network(f, weight)
    grad_f, grad_w = torch.autograd.grad(fnkd_released(s, y, t, lam=3, tau=2), [f, weight], retain_graph=True)
    kd = fnkd_kd_released(s, y, t, alpha=0.5, T=3)
    kd_f, kd_w = torch.autograd.grad(2 * kd, [f, weight], retain_graph=True)
    (hard_f,) = torch.autograd.grad(losses.ce(s, y), f)
    torch.testing.assert_close(grad_w, kd_w)
    soft, along = kd_f - hard_f, f.detach() / 6
    torch.testing.assert_close(grad_f, hard_f + soft - (soft * along).sum(dim=1, keepdim=True) * along)


def test_fnkd_gradient_by_the_logits_is_that_of_equation_12() -> None:
    """p - q + λ² τ / ‖f‖ (p_fn - q_fn), over N, where the norm is held."""
    s, y, t = batch(bias=True)
    z = s.logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(fnkd(s._replace(logits=z), y, t, lam=3, tau=2), z)
    n, m = (vector_norm(each.features, dim=1, keepdim=True) for each in (s, t))
    p_fn = softmax(2 * (s.features @ s.weight.T) / n, dim=1)  # type: ignore[union-attr]
    q_fn = softmax(2 * (t.features @ t.weight.T) / m, dim=1)  # type: ignore[union-attr]
    wanted = softmax(s.logits, dim=1) - one_hot(y, K) + 9 * (2 / n) * (p_fn - q_fn)
    torch.testing.assert_close(found, wanted / N, rtol=0, atol=1e-14)


def test_fnkd_gradient_by_the_features_has_no_soft_part_along_them() -> None:
    """Through the norm: λ² τ / ‖f‖ (I - f fᵀ / ‖f‖²) Wᵀ (p_fn - q_fn), over N."""
    f, weight = draw(N, D).requires_grad_(), draw(K, D, seed=1)
    _, y, t = batch()
    s = network(f, weight)
    (found,) = torch.autograd.grad(fnkd(s, y, t, lam=3, tau=2) - losses.ce(s, y), f)
    n = f.detach().norm(dim=1, keepdim=True)
    p_fn = softmax(2 * s.logits.detach() / n, dim=1)
    q_fn = softmax(2 * t.logits / t.features.norm(dim=1, keepdim=True), dim=1)
    direct = 9 * (2 / n) * (p_fn - q_fn) @ weight
    along = f.detach() / n
    wanted = direct - (direct * along).sum(dim=1, keepdim=True) * along
    torch.testing.assert_close(found, wanted / N, rtol=0, atol=1e-13)


@pytest.mark.parametrize("loss", ["fnkd", "fnkd_released", "he"])
def test_gradient_by_features_weight_and_bias_is_that_of_the_value(loss: str) -> None:
    f, weight, bias = (
        draw(*shape, seed=i).requires_grad_() for i, shape in enumerate([(N, D), (K, D), (K,)])
    )
    _, y, t = batch(bias=True)

    def value(f: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        s = network(f, weight, bias)
        given = {"scale": 4.0} if loss == "he" else {"lam": 3.0, "tau": 2.0}
        function = getattr(losses_fnkd, loss)
        found: Tensor = function(s, y, **given) if loss == "he" else function(s, y, t, **given)
        return found

    assert torch.autograd.gradcheck(value, (f, weight, bias))


def test_he_sees_neither_norm_nor_bias() -> None:
    s, y, _ = batch(bias=True)
    assert s.weight is not None
    other = network(3 * s.features, s.weight * torch.arange(1, K + 1)[:, None], 5 * draw(K, seed=9))
    torch.testing.assert_close(he(s, y, scale=8), he(other, y, scale=8))


def test_he_scores_rank_by_angle_where_logits_rank_by_norm_too() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    s = network(torch.tensor([[1.0, 0.2]]), weight)
    assert s.logits.argmax() == 1
    assert he_scores(s, scale=8).argmax() == 0


@pytest.mark.parametrize("loss", [fnkd, fnkd_released])
def test_features_of_length_zero_give_a_finite_gradient(loss: object) -> None:
    f = torch.zeros(N, D, requires_grad=True)
    s = network(f, draw(K, D).float())
    value = loss(s, torch.arange(N) % K, s, lam=3, tau=2)  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(value, f)
    assert gradient.isfinite().all()


def test_network_that_does_not_give_its_classifier_is_refused() -> None:
    bare = Output(draw(N, K), draw(N, D))
    with pytest.raises(
        UserError, match=r"needs the classifier's W and b.*return Output\(logits, features, weight"
    ):
        fnkd(bare, torch.arange(N) % K, bare, lam=3, tau=2)
