"""The mean of weights against timm's, and that it is what is evaluated, kept and handed on."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kdbench.models.digits import digits_cnn
from kdbench.spec.events import Task
from kdbench.training import images
from kdbench.training.averaged import Averaged
from kdbench.training.context import TrainingContext
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from tests.support.training import digits, network_left


def noisy_step(network: nn.Module, number: int) -> None:
    """Change weights, statistics and counters as a step of training does."""
    generator = torch.Generator().manual_seed(number)
    network.train()(torch.randn(4, 1, 8, 8, generator=generator))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


def test_mean_of_weights_is_a_share_of_before_and_the_rest_of_now() -> None:
    """Of running statistics too; what counts steps is copied."""
    torch.manual_seed(0)
    network = digits_cnn(10, 1)
    averaged = Averaged(network, 0.9)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    noisy_step(network, 1)
    averaged.update()
    now, found = network.state_dict(), averaged.network.state_dict()
    for name in ("classifier.weight", "body.1.running_var"):
        torch.testing.assert_close(found[name], 0.9 * before[name] + 0.1 * now[name])
        assert not found[name].equal(now[name])
    assert found["body.1.num_batches_tracked"] == 1


@pytest.mark.slow
def test_mean_of_weights_is_timms_bit_for_bit() -> None:
    from timm.utils.model_ema import ModelEmaV3

    torch.manual_seed(0)
    network = digits_cnn(10, 1)
    ours, theirs = Averaged(network, 0.9), ModelEmaV3(network, decay=0.9)
    for number in range(5):
        noisy_step(network, number)
        ours.update()
        theirs.update(network)
    wanted = theirs.module.state_dict()
    found = ours.network.state_dict()
    assert any("running_var" in name for name in wanted)
    assert all(found[name].equal(wanted[name]) for name in wanted)
    assert not found["classifier.weight"].equal(network.state_dict()["classifier.weight"])


def test_mean_of_weights_is_evaluated_and_kept(context: TrainingContext) -> None:
    """The accuracy of record is that of the weights that teach, and these are not those that are trained."""
    plain, run = digits("digits_cnn", epochs=1), digits("digits_cnn", epochs=1, ema=0.9)
    train(plain, context)
    result = train(run, context)
    network, other = (network_left(context, each, 1) for each in (run, plain))
    tested = images.evaluation_set(run, context.data.named("digits"), context)
    batches = list(images.evaluation_batches(run, tested, context))
    loss = sum(cross_entropy(network(x).logits, y, reduction="sum").item() for x, y, _ in batches)
    assert result.curve.test_loss[-1] == pytest.approx(loss / 100, rel=1e-5)
    assert not network.state_dict()["classifier.weight"].equal(other.state_dict()["classifier.weight"])


def test_mean_of_weights_costs_as_much_memory_as_they_do(context: TrainingContext) -> None:
    run = digits("digits_cnn", ema=0.9)
    student_run = StudentRun(Task(run), context)
    weights = sum(each.numel() for each in student_run.parameters)
    kept = [*student_run.optimizer.state, *student_run.evaluated.parameters()]
    assert run.recipe.moments * weights == sum(each.numel() for each in kept)
