"""Recorded steps: the bits of autograd's, and what is not recorded."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from kdbench import catalog
from kdbench.models.build import build_network
from kdbench.models.output import Output
from kdbench.plugins import Plugin
from kdbench.spec.runs import Loss
from kdbench.training.objective import LossObjective, loss_function
from kdbench.training.recorded import RecordedStep, recordable
from tests.support.build import make_run

LOSSES = (
    Loss("ce"),
    Loss("lsr_released", {"epsilon": 0.1}),
    Loss("kd", {"alpha": 0.9, "tau": 4.0}),
    Loss("tfkd_reg", {"alpha": 0.9, "tau": 2.0, "a": 0.99}),
    Loss("lopezpaz_released", {"lam": 0.5, "T": 2.0}),
    Loss("lopezpaz_released", {"lam": 1.0, "T": 1.0}),
)
SIDES = {"logistic": (50, 1), "mlp_49_20_20": (1, 7), "digits_mlp": (1, 8), "digits_cnn": (1, 8)}
CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def networks(model: str) -> list[nn.Module]:
    """Two that are the same."""
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(build_network(model, 10, SIDES[model][0]).to(memory_format=torch.channels_last).train())
    return found


def dropout() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.5), nn.Linear(9, 3))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        *product(["logistic"], LOSSES),
        *product([model for model in SIDES if model != "logistic"], LOSSES[2:3]),
    ],
    ids=str,
)
def test_recorded_steps_are_autograds_to_the_last_bit(model: str, loss: Loss) -> None:
    """Five steps of which some are short, with the weights and statistics that they leave."""
    ours, usual = networks(model)
    channels, side = SIDES[model]
    function, taught = loss_function(loss), catalog.find("losses", loss.name).teacher
    recorded = RecordedStep(list(ours.parameters()))
    for number, size in enumerate([8, 8, 5, 8, 5]):
        x, y = draw(size, channels, side, side, seed=number), torch.arange(size) % 10
        logits = draw(size, 10, seed=99 - number)
        more = [Output(logits, logits.new_empty(0))] if taught else []

        def value_of(network: nn.Module) -> Tensor:
            return function(network(x), y, *more)  # noqa: B023 - called at once

        value, gradients = recorded.gradients([x, y, logits], lambda: value_of(ours))
        expected = value_of(usual)
        expected.backward()  # type: ignore[no-untyped-call]
        assert torch.equal(value, expected.detach())
        for one, other, gradient in zip(ours.parameters(), usual.parameters(), gradients, strict=True):
            assert gradient is not None
            assert other.grad is not None
            assert torch.equal(gradient, other.grad)
            for parameter, slope in ((one, gradient), (other, other.grad)):
                parameter.data.sub_(slope, alpha=0.1)
            other.grad = None
    for ours_value, theirs in zip(ours.state_dict().values(), usual.state_dict().values(), strict=True):
        assert torch.equal(ours_value, theirs)
    assert len(recorded.replays) == 2
    assert all(recorded.replays.values())
    assert not recorded.draws


def test_recorded_dropout_draws_anew_what_autograds_would() -> None:
    ours, usual = dropout(), dropout()
    recorded, x = RecordedStep(list(ours.parameters())), draw(4, 6)
    drawn: list[list[Tensor]] = []
    for step in (
        lambda: recorded.gradients([x], lambda: ours(x).square().sum())[0],
        lambda: usual(x).square().sum(),
    ):
        torch.manual_seed(1)
        drawn.append([step().detach() for _ in range(3)])
    assert all(map(torch.equal, *drawn))
    assert len({float(value) for value in drawn[0]}) == 3
    assert recorded.draws


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: z.sum() * z.max().item(),
        lambda z: z[z > 0].sum(),
        lambda z: z.sum() * float(z.shape[0] > z.mean()),
    ],
    ids=["item", "boolean index", "comparison"],
)
def test_step_that_depends_on_numbers_is_done_as_usual(loss: Callable[[Tensor], Tensor]) -> None:
    weight = draw(3, 3).requires_grad_()
    recorded = RecordedStep([weight])
    for seed in range(3):
        x = draw(4, 3, seed=seed)
        value, (gradient,) = recorded.gradients([x], lambda: loss(x @ weight))  # noqa: B023 - called at once
        expected = loss(x @ weight)
        assert torch.equal(value, expected.detach())
        assert gradient is not None
        assert torch.equal(gradient, torch.autograd.grad(expected, weight)[0])
    assert list(recorded.replays.values()) == [None]
    assert recorded.draws


def test_parameter_that_the_loss_does_not_reach_has_no_gradient() -> None:
    weight, unused = draw(3).requires_grad_(), draw(3).requires_grad_()
    recorded = RecordedStep([weight, unused])
    for _ in range(2):
        x = draw(3)
        gradients = recorded.gradients([x], lambda: torch.dot(x, weight))[1]  # noqa: B023
        assert gradients[1] is None


def test_only_small_networks_of_kdbenchs_own_on_a_cpu_are_recorded() -> None:
    run, small, objective = make_run(), nn.Linear(3, 3), LossObjective(lambda s, _: s, None, taught=False)
    assert recordable(run, small, objective, CPU)
    assert not recordable(run, nn.Linear(400, 400), objective, CPU)
    assert not recordable(run, small, nn.Identity(), CPU)
    assert not recordable(run, small, objective, torch.device("cuda"))
    assert not recordable(replace(run, precision="bf16"), small, objective, CPU)
    assert not recordable(replace(run, plugins=(Plugin("wkd", "1", "0" * 64),)), small, objective, CPU)
    ghosts = replace(run, recipe=replace(run.recipe, ghost_batches=2))
    assert not recordable(ghosts, small, objective, CPU)
