"""Compiled runs: themselves bit for bit, the eager ones to rounding, and never eager without a word."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from weakref import ref

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from kdbench import catalog
from kdbench.catalog import ModelEntry
from kdbench.errors import UserError
from kdbench.models.output import Network
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Precision, Run, Teacher
from kdbench.training import precision as precisions
from kdbench.training.context import TrainingContext
from kdbench.training.evaluation import evaluate
from kdbench.training.precision import arithmetic, check_precision, forward_of, set_compiler, why_not_compiled
from kdbench.training.run import train
from tests.support.build import KD
from tests.support.training import Opened, digits, interrupted, network_left, numbers, together

CPU = torch.device("cpu")
COMPILED: Precision = "float32-compiled"


def dropout_cnn(classes: int, channels: int) -> nn.Module:
    """A convolution, a batch norm and dropout."""
    body = [nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)]
    return Network(nn.Sequential(*body), nn.Linear(4 * 36, classes))


def compiled(run: Run) -> Run:
    """The same compiled, its teacher too."""
    taught = run.teacher and Teacher(compiled(run.teacher.run), run.teacher.epoch)
    return replace(run, precision=COMPILED, teacher=taught)


TEACHER = digits("digits_cnn", epochs=2)
STUDENTS = [
    digits("dropout_cnn", KD, TEACHER, epochs=2),
    digits("dropout_cnn", Loss("fnkd", {"lam": 3.0, "tau": 2.0}), TEACHER, epochs=2, lr=0.01),
]


@pytest.fixture(autouse=True)
def _dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ModelEntry(code=f"{__name__}:dropout_cnn", least_size=8)
    monkeypatch.setitem(catalog.MODELS, "dropout_cnn", entry)


@pytest.fixture
def few() -> Iterator[None]:
    """As if torch's own limits were three networks of one kind, four of all kinds."""
    set_compiler()
    torch._dynamo.reset()  # noqa: SLF001 - torch says it nowhere else
    with torch._dynamo.config.patch(recompile_limit=3, accumulated_recompile_limit=4):  # noqa: SLF001
        yield
    torch._dynamo.reset()  # noqa: SLF001


def several(number: int) -> list[Tensor]:
    """What so many networks of different widths, compiled, make of images."""
    networks = [Network(nn.Flatten(), nn.Linear(16, width)).train() for width in range(2, 2 + number)]
    return [forward_of(network, COMPILED)(torch.ones(2, 1, 4, 4)).logits for network in networks]


def train_all(runs: list[Run], context: TrainingContext) -> list[Result]:
    return [train(run, context) for run in runs]


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_more_networks_are_compiled_than_torch_itself_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precisions, "set_compiler", set_compiler.__wrapped__)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]  # noqa: SLF001 - torch's own count
    assert len(several(9)) == 9
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 9  # noqa: SLF001


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_network_beyond_the_limit_fails() -> None:
    """Instead of being called without compiling, without a word."""
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):  # noqa: SLF001 - its only name
        several(9)


@pytest.mark.slow
def test_networks_of_one_shape_are_compiled_once_and_let_go() -> None:
    x, gone = torch.rand(4, 1, 8, 8), []
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]  # noqa: SLF001 - torch's own count
    for _ in range(3):
        network = dropout_cnn(10, 1).train()
        torch.autograd.backward(forward_of(network, COMPILED)(x).logits.sum())
        gone.append(ref(network))
        del network
    gc.collect()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= before + 1  # noqa: SLF001
    assert not any(each() for each in gone)


@pytest.mark.slow
def test_compiled_dropout_draws_what_the_eager_one_draws() -> None:
    """So pairs of an equivalence test differ by rounding alone, and a run draws what it draws alone."""
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.Dropout(0.5)), nn.Linear(256, 10))
    ways: tuple[Precision, ...] = ("float32", COMPILED)
    found = [_steps(forward_of(network.train(), way), network) for way in ways]
    torch.testing.assert_close(found[1], found[0])
    assert not torch.equal(found[0][0], found[0][3])


def _steps(forward: Callable[[Tensor], object], network: nn.Module) -> list[Tensor]:
    """Of two steps: the logits, a gradient, and the state of torch's generator afterwards."""
    torch.manual_seed(1)
    x, found = torch.rand(4, 1, 8, 8), list[Tensor]()
    for _ in range(2):
        network.zero_grad()
        logits: Tensor = forward(x).logits  # type: ignore[attr-defined]
        torch.autograd.backward(logits.square().mean())
        gradient = next(network.parameters()).grad
        assert gradient is not None
        found += [logits.detach(), gradient.clone(), torch.get_rng_state()]
    return found


@pytest.mark.slow
def test_compiled_runs_are_the_eager_ones_to_rounding_and_themselves_bit_for_bit(
    opened: Opened,
) -> None:
    """Alone, beside others, resumed: with a teacher that is compiled too, batch norm and dropout."""
    runs = [TEACHER, *STUDENTS]
    eager = train_all(runs, opened("eager"))
    alone, beside, rerun = (opened(name) for name in ("alone", "beside", "again"))
    wanted = train_all([compiled(run) for run in runs], alone)
    for one, other in zip(eager, wanted, strict=True):
        assert one.weights != other.weights
        assert other.curve.train_loss == pytest.approx(one.curve.train_loss, rel=1e-3)
    for context in (beside, rerun):
        assert numbers(train(compiled(TEACHER), context)) == numbers(wanted[0])
    student_runs = together([compiled(run) for run in STUDENTS], beside)
    assert [numbers(end) for end in student_runs.values()] == [numbers(each) for each in wanted[1:]]
    interrupted(compiled(STUDENTS[0]), rerun, 1)
    assert numbers(train(compiled(STUDENTS[0]), rerun)) == numbers(wanted[1])
    assert_evaluated_eagerly(wanted[1], alone)


def assert_evaluated_eagerly(result: Result, context: TrainingContext) -> None:
    """The weights have the usual names, and the accuracy of record is that of the usual network."""
    network = network_left(context, result.run, 2)
    top1, loss, _ = evaluate(result.run, network, context.data.named("digits"), context)
    assert (top1, loss) == (result.last, result.curve.test_loss[-1])


@pytest.mark.slow
def test_compiled_batch_in_parts_is_the_eager_one_to_rounding(
    opened: Opened,
) -> None:
    """With dropout, and batch-norm statistics that each part starts from."""
    run = digits("dropout_cnn", epochs=2, ghost_batches=4, train_size=90)
    eager, other = train(run, opened("eager")), train(compiled(run), opened("compiled"))
    assert other.curve.train_loss == pytest.approx(eager.curve.train_loss, rel=1e-4)
    assert other.curve.test_loss == pytest.approx(eager.curve.test_loss, rel=1e-3)


@pytest.mark.slow
def test_compiled_run_is_refused_where_there_is_no_compiler(tmp_path: Path) -> None:
    """Also where torch has kept what was compiled before."""
    code = (
        "import torch; from kdbench.training.precision import check_precision; "
        "check_precision('bf16-compiled', torch.device('cpu'))"
    )
    words, environment = [sys.executable, "-c", code], {**os.environ, "CXX": str(tmp_path / "none")}
    assert why_not_compiled(CPU) == ""
    stderr = subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stderr
    assert "UserError: precision bf16-compiled: torch.compile does not work" in stderr
    assert "No working C++ compiler" in stderr
    assert "or use bf16" in stderr


@pytest.mark.slow
def test_compiled_run_is_refused_where_compiling_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precisions, "why_not_compiled", why_not_compiled.__wrapped__)
    with (
        torch._dynamo.config.patch(disable=True),  # noqa: SLF001 - as TORCH_COMPILE_DISABLE does
        pytest.raises(UserError, match="switched off, by TORCH_COMPILE_DISABLE"),
    ):
        check_precision(COMPILED, CPU)
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(UserError, match=r"switched off, .* or TORCHDYNAMO_DISABLE"):
        check_precision(COMPILED, CPU)


def test_compiled_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="precision tf32-compiled is arithmetic of GPUs"):
        check_precision("tf32-compiled", CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("way", ["float32", "tf32", "bf16"])
def test_compiled_step_on_a_gpu_is_the_eager_one_to_rounding(way: Precision) -> None:
    device = torch.device("cuda")
    assert why_not_compiled(device) == ""
    network: nn.Module = catalog.load(catalog.MODELS["resnet18"].code)(100, 3)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    x = torch.rand(128, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    other: Precision = f"{way}-compiled"  # type: ignore[assignment]
    with arithmetic(way, device):
        losses = [forward_of(network, each)(x).logits.square().mean() for each in (way, other)]
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-2, atol=1e-3)
