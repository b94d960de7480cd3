"""The optimizers against torch.optim's, and the learning rate's course against numbers made by hand."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench.spec.runs import Recipe
from kdbench.training.optim import Rate, lr_at, make_optimizer, rate_on

SHAPES = [(17, 9), (17,), (1,)]
STEPS = 20
RECIPE = Recipe(epochs=10, batch_size=128, lr=0.1)
SGD_SETTINGS = [
    {"momentum": momentum, "weight_decay": decay, "nesterov": nesterov}
    for momentum, decay, nesterov in product((0.0, 0.9), (0.0, 5e-4), (False, True))
    if momentum or not nesterov  # torch.optim.SGD refuses Nesterov's without momentum
]


def noise(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(number)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def ours(recipe: Recipe, lrs: Sequence[Rate]) -> list[Tensor]:
    """Parameters after a step at each of these rates, from gradients that are noise."""
    parameters = noise(0)
    optimizer = make_optimizer(recipe, parameters)
    for number, lr in enumerate(lrs, 1):
        for parameter, gradient in zip(parameters, noise(number), strict=True):
            parameter.grad = gradient
        optimizer.step(lr)
    return parameters


def theirs(kind: type[torch.optim.Optimizer], lrs: Sequence[Rate], **settings: Any) -> list[Tensor]:  # noqa: ANN401 - what torch.optim takes
    """The same by torch.optim."""
    parameters = noise(0)
    optimizer = kind(parameters, lr=1.0, **settings)  # type: ignore[call-arg]
    for number, lr in enumerate(lrs, 1):
        optimizer.param_groups[0]["lr"] = lr
        for parameter, gradient in zip(parameters, noise(number), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return parameters


def course(recipe: Recipe, steps: int = 4) -> list[float]:
    """The rate of every step of all epochs."""
    return [
        lr_at(recipe, epoch, step, steps) for epoch in range(1, recipe.epochs + 1) for step in range(steps)
    ]


@pytest.mark.parametrize("settings", SGD_SETTINGS, ids=str)
def test_sgd_equals_torch_bit_for_bit(settings: dict[str, Any]) -> None:
    lrs = [0.1 * 0.9**step for step in range(STEPS)]
    mine = ours(replace(RECIPE, **settings), lrs)
    assert all(a.equal(b) for a, b in zip(mine, theirs(torch.optim.SGD, lrs, **settings), strict=True))


@pytest.mark.parametrize("decay", [0.0, 5e-4])
@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_equals_torch_bit_for_bit(name: str, kind: type[torch.optim.Optimizer], decay: float) -> None:
    lrs = [0.01 * 0.9**step for step in range(STEPS)]
    mine = ours(replace(RECIPE, optimizer=name, weight_decay=decay), lrs)
    assert all(a.equal(b) for a, b in zip(mine, theirs(kind, lrs, weight_decay=decay), strict=True))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *[(torch.optim.SGD, settings) for settings in SGD_SETTINGS],
        (torch.optim.Adam, {"weight_decay": 0.1}),
        (torch.optim.AdamW, {"weight_decay": 0.0}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
    ],
    ids=str,
)  # fmt: skip
def test_rate_in_a_tensor_is_torchs_fused_optimizer_bit_for_bit(
    kind: type[torch.optim.Optimizer], settings: dict[str, Any]
) -> None:
    """As on a GPU, where a CUDA graph reads the rate of each step."""
    lrs = [torch.tensor(0.01 * 0.9**step) for step in range(STEPS)]
    recipe = replace(RECIPE, optimizer=kind.__name__.lower(), **settings)
    pairs = zip(ours(recipe, lrs), theirs(kind, lrs, fused=True, **settings), strict=True)
    assert all(a.equal(b) for a, b in pairs)


@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": 0.9}, {"weight_decay": 5e-4, "momentum": 0.9}, {"eps_inside": True}],
    ids=str,
)
def test_rate_in_a_tensor_is_that_of_a_number_for_rmsprop(settings: dict[str, Any]) -> None:
    """Torch has no fused one; without its ε under the root ours is held to torch's below."""
    lrs = [0.01 * 0.9**step for step in range(STEPS)]
    recipe = replace(RECIPE, optimizer="rmsprop", **settings)
    torch.testing.assert_close(ours(recipe, list(map(torch.tensor, lrs))), ours(recipe, lrs))


def test_rate_is_a_number_on_a_cpu() -> None:
    assert rate_on(torch.device("cpu"), 0.1) == 0.1
    assert not isinstance(rate_on(torch.device("cpu"), 0.1), Tensor)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4])
def test_rmsprop_equals_torch_bit_for_bit(momentum: float, decay: float) -> None:
    lrs = [0.01 * 0.9**step for step in range(STEPS)]
    recipe = replace(RECIPE, optimizer="rmsprop", rho=0.9, eps=1e-6, momentum=momentum, weight_decay=decay)
    settings = {"alpha": 0.9, "eps": 1e-6, "momentum": momentum, "weight_decay": decay}
    pairs = zip(ours(recipe, lrs), theirs(torch.optim.RMSprop, lrs, **settings), strict=True)
    assert all(a.equal(b) for a, b in pairs)


def test_rmsprop_of_keras_has_its_epsilon_under_the_root() -> None:
    """Two steps by hand: a = 0.1 g², then 0.9 a + 0.1 g²; each step goes lr g / √(a + ε)."""
    weight = torch.tensor([1.0])
    recipe = replace(RECIPE, optimizer="rmsprop", rho=0.9, eps=0.5, eps_inside=True)
    optimizer = make_optimizer(recipe, [weight])
    wanted, square = 1.0, 0.0
    for gradient in (2.0, -1.0):
        weight.grad = torch.tensor([gradient])
        optimizer.step(0.1)
        square = 0.9 * square + 0.1 * gradient**2
        wanted -= 0.1 * gradient / (square + 0.5) ** 0.5
    assert weight.item() == pytest.approx(wanted, rel=1e-6)


def test_adam_goes_on_from_a_checkpoint_of_earlier_versions() -> None:
    """Its state was one count of steps, a float64 scalar, then the means and the squares: it still is."""
    optimizer = make_optimizer(replace(RECIPE, optimizer="adam"), noise(0))
    shapes = [(), *SHAPES, *SHAPES]
    assert [tuple(part.shape) for part in optimizer.state] == shapes
    assert optimizer.state[0].dtype == torch.float64
    optimizer.step(0.1)
    assert optimizer.state[0] == 1


@pytest.mark.slow
def test_optimizers_import_no_compiler() -> None:
    code = "import sys, kdbench.training.optim; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "torch._dynamo" not in found.stdout.split()


NAMES = ["sgd", "adam", "adamw", "rmsprop"]


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_goes_on_from_its_state(name: str) -> None:
    """The state holds all that the next step depends on, beside the parameters."""
    recipe = replace(RECIPE, optimizer=name, momentum=0.9, weight_decay=5e-4)
    parameters = ours(recipe, [0.1, 0.1])
    first = make_optimizer(recipe, parameters)
    first.step(0.1)
    copies = [parameter.clone() for parameter in parameters]
    second = make_optimizer(recipe, copies)
    for theirs_, mine in zip(first.state, second.state, strict=True):
        mine.copy_(theirs_)
    for parameter, copy, gradient in zip(parameters, copies, noise(7), strict=True):
        parameter.grad = copy.grad = gradient
    first.step(0.1)
    second.step(0.1)
    assert all(a.equal(b) for a, b in zip(parameters, copies, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_decays_a_parameter_without_gradient(name: str) -> None:
    weight = torch.ones(3)
    make_optimizer(replace(RECIPE, optimizer=name, weight_decay=0.5), [weight]).step(0.1)
    assert (weight < 1).all()


def test_lr_without_a_schedule_stays() -> None:
    assert set(course(RECIPE)) == {0.1}


def test_lr_falls_in_the_epoch_after_a_milestone() -> None:
    recipe = replace(RECIPE, milestones=(3, 5), gamma=0.2, epochs=6)
    lrs = [lr_at(recipe, epoch, 0, 4) for epoch in range(1, 7)]
    assert lrs == pytest.approx([0.1, 0.1, 0.1, 0.02, 0.02, 0.004], rel=1e-12)


def test_lr_is_the_same_at_all_steps_of_an_epoch() -> None:
    recipe = replace(RECIPE, milestones=(1,), gamma=0.1, epochs=2)
    assert course(recipe, steps=3) == pytest.approx([0.1] * 3 + [0.01] * 3, rel=1e-12)


def test_lr_rises_step_by_step_over_the_warm_up() -> None:
    recipe = replace(RECIPE, warmup_epochs=2, epochs=3)
    eighths = [(step + 1) / 8 for step in range(8)]
    assert course(recipe) == pytest.approx([0.1 * part for part in (*eighths, 1, 1, 1, 1)], rel=1e-12)


def test_lr_of_a_larger_batch_is_larger() -> None:
    recipe = replace(RECIPE, batch_size=64, lr_batch=128)
    assert lr_at(recipe, 1, 0, 4) == pytest.approx(0.05, rel=1e-12)


def test_lr_with_warm_up_milestone_and_batch_multiplies_them() -> None:
    recipe = replace(RECIPE, batch_size=256, lr_batch=128, warmup_epochs=2, milestones=(1,), gamma=0.5)
    assert lr_at(recipe, 2, 1, 4) == pytest.approx(0.1 * 2 * (6 / 8) * 0.5, rel=1e-12)


def test_lr_of_a_constant_schedule_stays_after_the_warm_up() -> None:
    recipe = replace(RECIPE, schedule="constant", warmup_epochs=1, epochs=3)
    assert course(recipe) == pytest.approx([0.025, 0.05, 0.075, *[0.1] * 9], rel=1e-12)


@pytest.mark.parametrize("end", [0.0, 0.01])
@pytest.mark.parametrize("warm", [0, 3])
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_lr_of_a_schedule_is_torchs_epoch_by_epoch(name: str, warm: int, end: float) -> None:
    """After the warm-up, of which torch's schedulers know nothing."""
    recipe = replace(RECIPE, schedule=name, lr_end=end, warmup_epochs=warm)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    rest = recipe.epochs - warm
    scheduler: torch.optim.lr_scheduler.LRScheduler
    if name == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=rest, eta_min=end)
    else:
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, end / 0.1, total_iters=rest)
    wanted = []
    for _ in range(rest):
        wanted += [optimizer.param_groups[0]["lr"]] * 4
        optimizer.step()
        scheduler.step()
    found = course(recipe)
    assert found[4 * warm :] == pytest.approx(wanted, rel=1e-9)
    rising = [0.1 * (step + 1) / (4 * warm) for step in range(4 * warm)]
    assert found[: 4 * warm] == pytest.approx(rising, rel=1e-12)


def test_lr_batch_scales_both_ends_of_a_schedule() -> None:
    recipe = replace(RECIPE, schedule="linear", lr_end=0.02, epochs=2)
    larger = replace(recipe, lr_batch=64)
    assert course(larger) == pytest.approx([2 * lr for lr in course(recipe)], rel=1e-12)
