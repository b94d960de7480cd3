"""The mean of weights against timm's, and that it is what is evaluated, kept and handed on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy

from kdbench.models.digits import digits_cnn
from kdbench.spec.events import Task
from kdbench.store.weights import weights_file
from kdbench.training import images
from kdbench.training.averaged import Averaged
from kdbench.training.checkpoint import load_weights
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from tests.support.training import digits, open_digits


def noisy_step(network: nn.Module, number: int) -> None:
    """Change weights, statistics and counters as a step of training does."""
    generator = torch.Generator().manual_seed(number)
    network.train()(torch.randn(4, 1, 8, 8, generator=generator))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


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


def test_mean_of_weights_is_evaluated_and_kept(tmp_path: Path) -> None:
    """The accuracy of record is that of the weights that teach, and these are not those that are trained."""
    run, context = digits("digits_cnn", ema=0.9), open_digits(tmp_path)
    result = train(run, context)
    path = weights_file(context.machine.scratch, run.id, 3)
    assert path is not None
    network = context.network(run)
    load_weights(path, network)
    tested = images.evaluation_set(run, context.data.named("digits"), context)
    batches = list(images.evaluation_batches(run, tested, context))
    loss = sum(cross_entropy(network.eval()(x).logits, y, reduction="sum").item() for x, y, _ in batches)
    assert result.curve.test_loss[-1] == pytest.approx(loss / 100, rel=1e-5)
    plain = digits("digits_cnn")
    train(plain, context)
    other = weights_file(context.machine.scratch, plain.id, 3)
    assert other is not None
    assert not load_file(path)["classifier.weight"].equal(load_file(other)["classifier.weight"])


def test_mean_of_weights_costs_as_much_memory_as_they_do(tmp_path: Path) -> None:
    run, context = digits("digits_cnn", ema=0.9), open_digits(tmp_path)
    student_run = StudentRun(Task(run), context)
    weights = sum(each.numel() for each in student_run.parameters)
    kept = [*student_run.optimizer.state, *student_run.evaluated.parameters()]
    assert run.recipe.moments * weights == sum(each.numel() for each in kept)
