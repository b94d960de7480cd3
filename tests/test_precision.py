"""bf16, tf32, compiled: other runs, trained otherwise, judged by the same arithmetic."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from kdbench import catalog
from kdbench.cli_options import PRECISIONS
from kdbench.cohorts import make_cohorts
from kdbench.errors import UserError
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.models.output import Network
from kdbench.spec import Precision
from kdbench.store import weights_file
from kdbench.training.checkpoint import Progress, load_weights
from kdbench.training.evaluation import evaluate
from kdbench.training.precision import arithmetic, forward_of, why_not_compiled
from kdbench.training.run import train
from kdbench.training.world import World, open_world
from tests.build import KD
from tests.conftest import Command
from tests.test_cohorts import digits, numbers, together
from tests.test_plan import cells

FULL = digits("digits_cnn", epochs=2)
HALF = replace(FULL, precision="bf16")
STUDENT = replace(digits("digits_mlp", KD, HALF, epochs=2), precision="bf16")


@pytest.fixture
def opened(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Callable[[str], World]]:
    data = Data(folder=str(tmp_path_factory.getbasetemp() / "precision"), offline=True)

    def make(name: str) -> World:
        folders, local = Folders(results="results", scratch="scratch"), Local(device="cpu")
        return open_world(Machine(local=local, data=data, folders=folders, root=str(tmp_path / name)))

    before = torch.get_deterministic_debug_mode()
    yield make
    torch.set_deterministic_debug_mode(before)


@pytest.fixture
def world(opened: Callable[[str], World]) -> World:
    return opened("here")


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


def test_runs_of_two_precisions_are_no_cohort() -> None:
    assert len(make_cohorts([FULL, HALF])) == 2


def test_bf16_trains_in_bf16_and_is_evaluated_in_float32(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_types(monkeypatch)
    train(HALF, world)
    assert set(seen) == {(True, torch.bfloat16, torch.float32), (False, torch.float32, torch.float32)}


def test_bf16_hears_a_teacher_in_bf16_with_logits_in_float32(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(HALF, world)
    seen = seen_types(monkeypatch)
    train(STUDENT, world)
    assert (False, torch.bfloat16, torch.float32) in seen
    network = world.network(HALF)
    x = torch.zeros(2, 1, 8, 8)
    out = forward_of(network, "bf16")(x)
    assert (out.logits.dtype, out.features.dtype) == (torch.float32, torch.float32)


def test_accuracy_of_a_bf16_run_is_that_of_its_weights_in_float32(world: World) -> None:
    result = train(HALF, world)
    path, network = weights_file(world.machine.scratch, HALF.id, 2), world.network(HALF)
    assert path is not None
    load_weights(path, network)
    top1, loss, _ = evaluate(FULL, network, world.dataset("digits"), world)
    assert (top1, loss) == (result.last, result.curve.test_loss[-1])


def test_bf16_learns_something_else_and_as_much(world: World) -> None:
    full, half = train(FULL, world), train(HALF, world)
    assert set(full.curve.train_loss).isdisjoint(half.curve.train_loss)
    assert half.curve.train_loss[-1] == pytest.approx(full.curve.train_loss[-1], rel=0.05)


def test_bf16_member_is_as_alone_bit_for_bit(opened: Callable[[str], World]) -> None:
    other = replace(STUDENT, recipe=replace(STUDENT.recipe, lr=0.01))
    alone, beside = opened("alone"), opened("beside")
    for world in (alone, beside):
        train(HALF, world)
    wanted = [numbers(train(run, alone)) for run in (STUDENT, other)]
    assert [numbers(end) for end in together([STUDENT, other], beside).values()] == wanted


def test_tf32_is_refused_where_there_is_none(world: World) -> None:
    with pytest.raises(UserError, match="precision tf32 is arithmetic of GPUs, and the device is cpu"):
        train(replace(FULL, precision="tf32"), world)


@pytest.mark.parametrize("name", ["mobilenetv2", "shufflenetv2", "resnet56_v2", "densenet121"])
def test_networks_take_bf16_forward_and_backward(name: str) -> None:
    network: nn.Module = catalog.load(catalog.MODELS[name].code)(10, 3)
    out = forward_of(network.train(), "bf16")(torch.rand(2, 3, 32, 32))
    torch.autograd.backward(out.logits.square().mean())
    gradients = [each.grad for each in network.parameters() if each.grad is not None]
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in gradients)


def by_steps(network: nn.Module, precision: Precision, images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss of images as a network in training sees them, and its gradient at the first weights."""
    x = torch.rand(images, 1, 8, 8, generator=torch.Generator().manual_seed(images))
    network.zero_grad()
    loss = forward_of(network, precision)(x).logits.square().mean()
    torch.autograd.backward(loss)
    gradient = next(network.parameters()).grad
    assert gradient is not None
    return loss.detach(), gradient.clone()


@pytest.mark.slow
def test_compiled_networks_are_the_same_function_for_any_number_of_shapes() -> None:
    """More than torch compiles of one function by itself, before it falls back without a word."""
    network: nn.Module = catalog.load(catalog.MODELS["digits_mlp"].code)(10, 1).train()
    for images in range(2, 13):
        compiled, usual = (by_steps(network, way, images) for way in ("float32-compiled", "float32"))
        torch.testing.assert_close(compiled, usual)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 11  # noqa: SLF001 - torch's own count


@pytest.mark.slow
def test_compiled_dropout_is_a_function_of_the_generators_state() -> None:
    """So that a member of a cohort draws what it draws alone."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.Dropout(0.5))
    network = Network(body, nn.Linear(256, 10)).train()
    forward, x = forward_of(network, "float32-compiled"), torch.rand(4, 1, 8, 8)
    torch.manual_seed(1)
    one, other = forward(x).logits, forward(x).logits
    torch.manual_seed(1)
    assert torch.equal(forward(x).logits, one)
    assert torch.equal(forward(x).logits, other)
    assert not torch.equal(one, other)


@pytest.mark.slow
def test_compiled_run_is_the_eager_one_to_rounding_and_itself_bit_for_bit(
    opened: Callable[[str], World],
) -> None:
    """Alone, beside others, resumed: as for any other run. With a teacher that is compiled too."""
    teacher, usual = (replace(FULL, precision=way) for way in ("float32-compiled", "float32"))
    eager, alone, beside = opened("eager"), opened("alone"), opened("beside")
    results = [train(run, world) for run, world in ((usual, eager), (teacher, alone), (teacher, beside))]
    assert results[1].curve.train_loss == pytest.approx(results[0].curve.train_loss, rel=1e-3)
    assert numbers(results[1]) == numbers(results[2])
    student = replace(digits("digits_mlp", KD, teacher, epochs=2), precision="float32-compiled")
    other = replace(student, recipe=replace(student.recipe, lr=0.01))
    wanted = [numbers(train(run, alone)) for run in (student, other)]
    assert [numbers(end) for end in together([student, other], beside).values()] == wanted
    again = opened("again")
    train(teacher, again)
    with pytest.raises(KeyboardInterrupt):
        train(student, again, watch=interrupt)
    assert numbers(train(student, again)) == wanted[0]


def interrupt(_: Progress) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_compiled_run_is_refused_where_nothing_compiles(world: World, tmp_path: Path) -> None:
    code = (
        "import torch; from kdbench.training.precision import check_precision; "
        "check_precision('bf16-compiled', torch.device('cpu'))"
    )
    nothing = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    words, environment = [sys.executable, "-c", code], {**os.environ, **nothing}
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stderr
    assert "UserError: precision bf16-compiled: torch.compile does not work" in said
    assert "or use bf16" in said
    with pytest.raises(UserError, match="precision tf32-compiled is arithmetic of GPUs"):
        train(replace(FULL, precision="tf32-compiled"), world)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("way", ["float32", "tf32", "bf16"])
def test_compiled_step_on_a_gpu_is_the_eager_one_to_rounding(way: Precision) -> None:
    device = torch.device("cuda")
    assert why_not_compiled(device) == ""
    network: nn.Module = catalog.load(catalog.MODELS["resnet18"].code)(100, 3)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    x = torch.rand(128, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    compiled: Precision = f"{way}-compiled"  # type: ignore[assignment]
    with arithmetic(way, device):
        losses = [forward_of(network, each)(x).logits.square().mean() for each in (way, compiled)]
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-2, atol=1e-3)


def test_command_line_chooses_the_precision(kdbench: Command, project: Path) -> None:
    suite = str(project / "suites" / "small")
    plan = kdbench("plan", suite, "--precision", "bf16", "--json").json
    assert {each["run"]["precision"] for each in plan} == {"bf16"}
