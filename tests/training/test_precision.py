"""bf16 and tf32: other runs, trained otherwise, judged by the same arithmetic. Compiled: test_compiled.py."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from kdbench import catalog
from kdbench.commands.options import PRECISIONS
from kdbench.cost.speeds import kind
from kdbench.errors import UserError
from kdbench.models.output import Network
from kdbench.plan.cohorts import make_cohorts
from kdbench.spec.runs import Precision
from kdbench.training.context import TrainingContext
from kdbench.training.evaluation import evaluate
from kdbench.training.precision import forward_of
from kdbench.training.run import train
from tests.support.build import KD
from tests.support.command import Command
from tests.support.marks import slow_but
from tests.support.project import cells
from tests.support.training import Opened, digits, network_left, numbers, together

FULL = digits("digits_cnn", epochs=2)
HALF = replace(FULL, precision="bf16")
STUDENT = replace(digits("digits_mlp", KD, HALF, epochs=2), precision="bf16")


def seen_types(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, torch.dtype, torch.dtype]]:
    """Of each forward pass: in training or not, the type of the classifier's and of a loss's logits."""
    seen: list[tuple[bool, torch.dtype, torch.dtype]] = []
    inner = Network.forward

    def watched(self: Network, images: torch.Tensor) -> object:
        out = inner(self, images)
        seen.append((self.training, out.logits.dtype, next(self.parameters()).dtype))
        return out

    monkeypatch.setattr(Network, "forward", watched)
    return seen


def test_precision_is_part_of_the_identity() -> None:
    assert len({replace(FULL, precision=precision).id for precision in get_args(Precision)}) == 6
    assert replace(HALF, precision="float32").id == FULL.id


def test_options_offer_every_precision() -> None:
    assert get_args(Precision) == PRECISIONS


def test_plan_in_bf16_has_teachers_in_bf16(tmp_path: Path) -> None:
    runs = [run for cell in cells(tmp_path, precision="bf16") for run in cell.runs]
    taught = [run.teacher.run for run in runs if run.teacher]
    assert taught
    assert {run.precision for run in [*runs, *taught]} == {"bf16"}


def test_runs_of_two_precisions_are_no_cohort_and_of_no_kind() -> None:
    runs = [replace(FULL, precision=precision) for precision in get_args(Precision)]
    assert len(make_cohorts(runs)) == len({kind(run) for run in runs}) == 6


def test_bf16_trains_in_bf16_and_is_evaluated_in_float32(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_types(monkeypatch)
    train(HALF, context)
    assert set(seen) == {(True, torch.bfloat16, torch.float32), (False, torch.float32, torch.float32)}


def test_bf16_hears_a_teacher_in_bf16_with_logits_in_float32(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(HALF, context)
    seen = seen_types(monkeypatch)
    train(STUDENT, context)
    assert (False, torch.bfloat16, torch.float32) in seen
    network = context.network(HALF)
    x = torch.zeros(2, 1, 8, 8)
    out = forward_of(network, "bf16")(x)
    assert (out.logits.dtype, out.features.dtype) == (torch.float32, torch.float32)


def test_accuracy_of_a_bf16_run_is_that_of_its_weights_in_float32(context: TrainingContext) -> None:
    result = train(HALF, context)
    network = network_left(context, HALF, 2)
    top1, loss, _ = evaluate(FULL, network, context.data.named("digits"), context)
    assert (top1, loss) == (result.last, result.curve.test_loss[-1])


def test_bf16_learns_something_else_and_as_much(context: TrainingContext) -> None:
    full, half = train(FULL, context), train(HALF, context)
    assert set(full.curve.train_loss).isdisjoint(half.curve.train_loss)
    assert half.curve.train_loss[-1] == pytest.approx(full.curve.train_loss[-1], rel=0.05)


def test_bf16_run_is_as_alone_bit_for_bit(opened: Opened) -> None:
    other = replace(STUDENT, recipe=replace(STUDENT.recipe, lr=0.01))
    alone, beside = opened("alone"), opened("beside")
    for context in (alone, beside):
        train(HALF, context)
    wanted = [numbers(train(run, alone)) for run in (STUDENT, other)]
    assert [numbers(end) for end in together([STUDENT, other], beside).values()] == wanted


def test_tf32_is_refused_where_there_is_none(context: TrainingContext) -> None:
    with pytest.raises(UserError, match="precision tf32 is arithmetic of GPUs, and the device is cpu"):
        train(replace(FULL, precision="tf32"), context)


@pytest.mark.parametrize(
    "name", slow_but(["shufflenetv2"], ["mobilenetv2", "shufflenetv2", "resnet56_v2", "densenet121"])
)
def test_networks_take_bf16_forward_and_backward(name: str) -> None:
    network: nn.Module = catalog.load(catalog.MODELS[name].code)(10, 3)
    out = forward_of(network.train(), "bf16")(torch.rand(2, 3, 32, 32))
    torch.autograd.backward(out.logits.square().mean())
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in gradients)


@pytest.mark.parametrize("precision", ["bf16", "float32-compiled"])
def test_command_line_chooses_the_precision(kdbench: Command, project: Path, precision: str) -> None:
    suite = str(project / "suites" / "small")
    plan = kdbench("plan", suite, "--precision", precision, "--json").json
    assert {each["run"]["precision"] for each in plan} == {precision}
