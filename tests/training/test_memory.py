"""What a cohort is estimated to need, against what the system measured, in processes of their own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from kdbench.cost.counts import cost, memory_bank
from kdbench.machine import Local, Machine
from kdbench.spec.runs import Loss, Run, Teacher
from kdbench.training.context import TrainingContext
from kdbench.training.objective import distiller_bytes
from kdbench.training.sizing import estimate, group_limits, room
from kdbench.workers.process import ALLOCATOR
from tests.support.build import CE, make_run
from tests.support.distillers import SETTINGS
from tests.support.places import ROOT

MEASURE = """
import sys, torch
from kdbench.machine import Local, Machine
from kdbench.spec.events import Task
from kdbench.spec.runs import Loss, Recipe, Run
from kdbench.training import sizing
from kdbench.training.student_run import StudentRun
from kdbench.training.run import train_cohort
from kdbench.training.context import open_context
from tests.support.data import random_data
context = open_context(Machine(local=Local(device="cpu"), root=sys.argv[1]))
context.data.stored["cifar100"] = random_data("cifar100", n=64)
recipe = Recipe(epochs=1, batch_size=64, lr=0.1, momentum=0.9, train_size=64, test_size=64)
runs = [Run(2, "cifar100", "0" * 64, student, recipe, Loss("ce"), 0) for student in sys.argv[2:]]
estimate = sizing.estimate(runs, context)
for _, result in train_cohort([Task(run) for run in runs], context):
    peak = result.peak_memory
print(estimate / peak)
"""


KEPT = """
import torch
from kdbench.machine import Local, Machine
from kdbench.spec.events import Task
from kdbench.training.context import TrainingContext
from kdbench.training.memory import GIB
from kdbench.training.sizing import estimate, fitting
from tests.support.build import make_run
cpu, tasks = torch.device("cpu"), [Task(make_run("resnet8", seed)) for seed in range(2)]
runs = [task.run for task in tasks]
fresh = estimate(runs, TrainingContext(Machine(), cpu)) / GIB
earlier = [torch.ones(2**18) for _ in range(1024)]  # a GiB
last = earlier[-1].clone()  # beyond it, so that freeing the others gives nothing back
del earlier
context = TrainingContext(Machine(local=Local(workers=1, memory_gib=fresh + 0.5)), cpu)
print(estimate(runs, context) / GIB - fresh > 0.9, [len(part) for part in fitting(tasks, context)])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps nothing")
def test_memory_that_is_kept_of_an_earlier_cohort_does_not_cut_the_next() -> None:
    command, environment = [sys.executable, "-c", KEPT], {**os.environ, "GLIBC_TUNABLES": ALLOCATOR}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    assert done.stdout == "True [2]\n"


@pytest.mark.slow
@pytest.mark.parametrize("students", [["resnet18"], ["mobilenetv2", "shufflenetv2", "resnet18"]], ids=len)
def test_estimate_is_near_the_measured_peak(tmp_path: Path, students: list[str]) -> None:
    """A third too much is a worker too few; too little is a run out of memory."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path), *students]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert 0.85 < float(done.stdout) < 1.35


def test_estimate_counts_crds_memory_and_what_is_trained_beside_the_student() -> None:
    """2 x 50,000 x 128 floats and two normalizers; two linear layers to 128 features."""
    crd = Loss("crd", {"beta": 0.8, "dim": 128.0, "negatives": 16384.0, "T": 0.07, "momentum": 0.5})
    run = taught("resnet8", crd, "resnet20")
    bank = 2 * 50_000 * 128 * 4
    assert distiller_bytes(run) == (4 * 2 * (64 + 1) * 128, bank + 8)
    assert memory_bank(run) == bank
    context = TrainingContext(Machine(), torch.device("cpu"))
    plain = replace(run, loss=Loss("hinton_kd", {"alpha": 0.9, "tau": 4.0}))
    more = estimate([run], context) - estimate([plain], context)
    assert bank <= more < 1.1 * bank + 50e6, "this process may grow meanwhile"
    assert cost(run).memory - cost(plain).memory == bank  # type: ignore[union-attr]
    assert memory_bank(plain) == sum(distiller_bytes(plain)) == 0


@pytest.mark.parametrize("name", ["fitnet", "cc", "vid"])
def test_estimate_counts_the_parameters_of_distillers(name: str) -> None:
    run = taught("resnet8", Loss(name, SETTINGS[name]), "resnet20")
    parameters, buffers = distiller_bytes(run)
    assert parameters > buffers, "batch norm has some"


def taught(student: str, loss: Loss, teacher: str) -> Run:
    """On CIFAR-100."""
    by = make_run(teacher, 0, CE)
    return replace(make_run(student, 0, loss), teacher=Teacher(by, by.recipe.epochs))


@pytest.mark.parametrize(("workers", "gib"), [(1, 8.0), (4, 2.0)])
def test_memory_of_benchmark_toml_is_shared_by_the_workers(workers: int, gib: float) -> None:
    machine = Machine(local=Local(memory_gib=8.0, workers=workers))
    assert room(TrainingContext(machine, torch.device("cpu"))) == gib * 2**30


@pytest.mark.parametrize(
    ("groups", "folder", "file"),
    [
        ("0::/task/step\n", "task", "memory.max"),
        ("4:memory:/task\n0::/\n", "memory/task", "memory.limit_in_bytes"),
    ],
)
def test_limit_of_a_control_group_counts(tmp_path: Path, groups: str, folder: str, file: str) -> None:
    """Also that of one around it, and in either version; "max" is none."""
    (tmp_path / folder / "step").mkdir(parents=True)
    (tmp_path / folder / file).write_text("4096\n", encoding="ascii")
    (tmp_path / folder / "step" / file).write_text("max\n", encoding="ascii")
    assert list(group_limits(groups, tmp_path)) == [4096.0]
