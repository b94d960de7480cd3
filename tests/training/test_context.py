"""A process's hold on its machine: device, threads, networks that start the same."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.machine import Data, Local, Machine
from kdbench.plugins import Plugin
from kdbench.spec.runs import Teacher
from kdbench.training.context import TrainingContext, fill_new_memory, open_context
from tests.support.build import CE, make_run
from tests.support.marks import slow_but
from tests.support.training import digits

DETERMINISTIC: Any = torch.utils.deterministic
TRAIN = """
import sys
from msgspec.structs import replace
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.training.run import train
from kdbench.training.context import open_context
recipe = Recipe(epochs=1, batch_size=32, lr=0.1, momentum=0.9, train_size=64, test_size=64)
run = Run(1, "digits", "0" * 64, "digits_cnn", recipe, Loss("lsr", {"epsilon": 0.1}), 0)
student = replace(run, loss=Loss("at", {"beta": 100.0}), teacher=Teacher(run, 1))
machine = Machine(local=Local(device="cpu"), data=Data(folder=sys.argv[1]), root=sys.argv[1])
context = open_context(machine)
train(run, context)
train(student, context)
slow = ("torch._dynamo", "torch._inductor", "sklearn", "torchvision", "timm")
print([name for name in slow if name in sys.modules])
"""


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def opened(data: str, **local: object) -> TrainingContext:
    settings = Local(**{"device": "cpu", **local})  # type: ignore[arg-type]
    return open_context(Machine(local=settings, data=Data(folder=data, offline=True), root=data))


def weights(network: nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_there_is_refused(data: str, device: str) -> None:
    with pytest.raises(
        UserError, match=rf"^benchmark.toml, \[local\], device = '{device}': .*valid: auto, cpu"
    ):
        opened(data, device=device)


def test_process_uses_the_threads_it_is_given(data: str) -> None:
    opened(data, threads=2)
    assert torch.get_num_threads() == 2


def test_process_on_the_cpu_is_deterministic(data: str) -> None:
    opened(data)
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "student",
    slow_but(
        ["shufflenetv2", "digits_cnn"],
        ["mobilenetv2", "shufflenetv2", "googlenet", "densenet121", "resnet20_v2", "digits_cnn"],
    ),
)
def test_no_number_depends_on_what_lay_in_new_memory(data: str, student: str) -> None:
    """With NaN in all memory that torch takes, a step and an evaluation give the same bits."""
    context, found = opened(data), []
    run = replace(make_run(student), dataset="digits" if student == "digits_cnn" else "cifar100")
    entry = catalog.DATASETS[run.dataset]
    for fill in (False, True):
        DETERMINISTIC.fill_uninitialized_memory = fill
        network = context.network(run)
        x = torch.linspace(-1, 1, 3 * entry.channels * entry.size**2).view(3, -1, entry.size, entry.size)
        loss = nn.functional.cross_entropy(network.train()(x).logits, torch.arange(3))
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            logits = network.eval()(x).logits
        found.append([loss, logits, *(parameter.grad for parameter in network.parameters())])
    opened(data)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_new_memory_is_filled_for_other_packages_code_alone(data: str) -> None:
    run, plugin = digits(), Plugin("wkd", "1", "0" * 64)
    taught = replace(run, teacher=Teacher(replace(run, plugins=(plugin,)), 1))
    for runs, filled in ([run], False), ([run, taught], True):
        fill_new_memory(of=runs)
        assert DETERMINISTIC.fill_uninitialized_memory is filled
    opened(data)
    assert not DETERMINISTIC.fill_uninitialized_memory


def test_network_starts_the_same_whatever_came_before(data: str) -> None:
    context = opened(data)
    first = weights(context.network(digits()))
    torch.rand(7)
    assert all(a.equal(b) for a, b in zip(first, weights(context.network(digits())), strict=True))


def test_network_starts_the_same_whatever_it_will_be_taught(data: str) -> None:
    """Rows of one seed differ in what is claimed, not in where they start: gains are paired."""
    context = opened(data)
    other = replace(digits(), loss=replace(CE, name="lsr", params={"epsilon": 0.1}))
    pairs = zip(weights(context.network(digits())), weights(context.network(other)), strict=True)
    assert all(a.equal(b) for a, b in pairs)


def test_network_of_another_seed_starts_elsewhere(data: str) -> None:
    context = opened(data)
    pairs = zip(weights(context.network(digits())), weights(context.network(digits(seed=1))), strict=True)
    assert not any(a.equal(b) for a, b in pairs)


def test_network_has_the_classes_of_the_recipe(data: str) -> None:
    context, runs = opened(data), (digits(), digits(classes=100))
    shapes = [context.network(run).state_dict()["classifier.weight"].shape for run in runs]
    assert [tuple(shape) for shape in shapes] == [(10, 32), (100, 32)]


def test_nobody_teaches_a_run_without_a_teacher(data: str) -> None:
    assert opened(data).teacher(digits()) is None


@pytest.mark.slow
def test_training_imports_nothing_that_takes_seconds(data: str) -> None:
    """The compiler takes 8 s, torchvision as long: in every worker. scikit-learn only packs the digits."""
    opened(data).data.named("digits")
    done = subprocess.run([sys.executable, "-c", TRAIN, data], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert (Path(data) / ".kdbench" / "weights").is_dir()
