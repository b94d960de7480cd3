"""What was measured of a device, and what a plan makes of it: hours where they are known, else none."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cost.counts import Work
from kdbench.cost.estimate import describe_cost, estimate_cost, hours, savings
from kdbench.cost.speeds import (
    Attainable,
    Measured,
    Record,
    Speed,
    file_of,
    kind,
    load_record,
    measured_seconds,
    save_record,
)
from kdbench.device import Device, cpu_name, device_at_hand
from kdbench.errors import UserError
from kdbench.machine import Local, Machine
from kdbench.plan.selection import Selection, find_work
from kdbench.spec.runs import Loss, Run
from kdbench.store.records import index, save_result
from tests.support.build import make_result, make_run
from tests.support.project import make_project

HERE = Device("A processor (TM)", 1)
SPEED = Speed(
    Measured(50_000.0, 0.1), Measured(100.0, 0.5), Measured(500.0, None), teacher=Measured(400.0, 0.7)
)
TAUGHT = make_run(teacher=make_run("resnet18"))


def record(*runs: Run, device: Device = HERE) -> Record:
    return Record(device, "2.0", {"float32": Attainable(1e11, 1e10)}, {kind(run): SPEED for run in runs})


def seconds_of(results: Path, run: Run, device: Device = HERE) -> object:
    return measured_seconds(results, index(results), device)(run)


def test_floor_is_arithmetic_or_traffic_whichever_takes_longer() -> None:
    at_best = Attainable(flops=1e9, bytes=1e6)
    assert at_best.seconds(Work(2e9, 1e6)) == 2
    assert at_best.seconds(Work(2e9, 5e6)) == 5


def test_kind_knows_neither_seed_nor_loss() -> None:
    assert kind(replace(TAUGHT, seed=7)) == kind(TAUGHT) == "mobilenetv2<resnet18 cifar100 b128 float32"


def test_record_is_kept_beside_what_was_measured_before(tmp_path: Path) -> None:
    save_record(tmp_path, record(make_run("resnet18")))
    save_record(tmp_path, record(TAUGHT))
    found = load_record(tmp_path, HERE)
    assert found is not None
    assert list(found.kinds) == [kind(TAUGHT), kind(make_run("resnet18"))]
    assert found.kinds[kind(TAUGHT)].operators is None  # of a record from before steps were counted
    assert file_of(tmp_path, HERE).name == "a-processor-tm-1-thread.json"


def test_record_that_is_broken_is_refused(tmp_path: Path) -> None:
    path = save_record(tmp_path, record(TAUGHT))
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="measure again"):
        load_record(tmp_path, HERE)


def test_seconds_are_those_of_the_parts(tmp_path: Path) -> None:
    save_record(tmp_path, record(TAUGHT))
    found = measured_seconds(tmp_path, index(tmp_path), HERE)(TAUGHT)
    assert found is not None
    assert found.whole == pytest.approx(100_000 / 50_000 + 100_000 / 100 + 20_000 / 500)
    assert found.teaching == pytest.approx(100_000 / 400)


@pytest.mark.parametrize("others", [0, 9])
def test_seconds_of_a_run_are_those_of_a_result_of_its_kind(tmp_path: Path, others: int) -> None:
    """Results of another data set displace it not."""
    environment = {"device": "cpu", "cpu": HERE.name, "threads": 1}
    for seed in range(others):
        elsewhere = replace(make_run(seed=seed), dataset="cifar10")
        save_result(tmp_path, replace(make_result(elsewhere, 10.0, 20.0), environment=environment))
    result = make_result(make_run(seed=1), 10.0, 20.0)
    save_result(tmp_path, replace(result, seconds=30.0, environment=environment))
    found = measured_seconds(tmp_path, index(tmp_path), HERE)(make_run(seed=2))
    assert found is not None
    assert found.whole == pytest.approx(30)


def test_share_of_a_cohorts_seconds_is_no_measure_of_a_run_alone(tmp_path: Path) -> None:
    environment = {"device": "cpu", "cpu": HERE.name, "threads": 1, "cohort": 4}
    result = make_result(make_run(seed=1), 10.0, 20.0)
    save_result(tmp_path, replace(result, seconds=30.0, environment=environment))
    assert seconds_of(tmp_path, make_run(seed=2)) is None


@pytest.mark.parametrize("device", [Device(HERE.name, 2), Device("A GPU", None)])
def test_seconds_of_another_device_are_unknown(tmp_path: Path, device: Device) -> None:
    save_record(tmp_path, record(TAUGHT, device=device))
    environment = {"device": "cuda", "gpu": "Another GPU", "cpu": HERE.name}
    save_result(tmp_path, replace(make_result(TAUGHT, 1.0, 2.0), environment=environment))
    assert seconds_of(tmp_path, TAUGHT) is None


def test_device_at_hand_is_the_processor_where_benchmark_toml_says_so() -> None:
    machine = Machine(local=Local(device="cpu", threads=3))
    assert device_at_hand(machine) == Device(cpu_name(), 3)
    assert str(Device("X", 3)) == "X, 3 threads"


def test_cohort_asks_its_teacher_once() -> None:
    teacher = make_run("resnet18")
    runs = [make_run(student, teacher=teacher) for student in ("mobilenetv2", "shufflenetv2", "plaincnn")]
    assert savings([teacher, *runs]) == (frozenset({runs[1].id, runs[2].id}), frozenset())


def test_teacher_of_a_shorter_run_was_asked_before() -> None:
    teacher = make_run("resnet18")
    one, two = (make_run(student, teacher=teacher) for student in ("mobilenetv2", "shufflenetv2"))
    shorter = replace(one, recipe=replace(one.recipe, epochs=1))
    assert savings([teacher, shorter, two]) == (frozenset(), frozenset({shorter.id}))


def test_teacher_whose_features_matter_is_asked_by_each_cohort() -> None:
    teacher = make_run("resnet18")
    run = make_run(loss=Loss("fnkd", {"lam": 3.0, "tau": 2.0}), teacher=teacher)
    assert savings([run, replace(run, recipe=replace(run.recipe, epochs=1))]) == (frozenset(), frozenset())


def test_bill_of_what_was_not_measured_says_so(tmp_path: Path) -> None:
    work = find_work(Selection(suites=(str(make_project(tmp_path)),)), Machine(root=str(tmp_path)))
    estimate = estimate_cost(work, Machine(root=str(tmp_path), local=Local(device="cpu")))
    lines = list(describe_cost(estimate, work.runs, ["suites/small"]))
    unmeasured = f"unmeasured on {cpu_name()}, 1 thread: 6 runs; `kdbench bench suites/small` measures"
    assert lines[1] == f"time         {unmeasured}"


def test_bill_adds_up_what_was_measured(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path), local=Local(device="cpu"))
    work = find_work(Selection(suites=(str(make_project(tmp_path)),), seeds=(0,)), machine)
    save_record(machine.results, record(work.runs[0], work.runs[-1], device=device_at_hand(machine)))
    estimate = estimate_cost(work, machine)
    known = [item.seconds.whole for item in estimate.items.values() if item.seconds]
    line = list(describe_cost(estimate, work.runs, ["suites/small"]))[1]
    assert len(known) == 2
    assert f"{hours(sum(known))} on " in line
    assert "for 2 of 3 runs, each alone; unmeasured" in line


def test_flops_of_the_bill_are_those_of_the_runs(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path))
    chosen = Selection(suites=(str(make_project(tmp_path)),), rows="1.base/digits_mlp", seeds=(0,))
    work = find_work(chosen, machine)
    (item,) = estimate_cost(work, machine).items.values()
    forward, backward = 2 * (64 * 32 + 32 * 10), 2 * (64 * 32 + 2 * 32 * 10)
    assert item.cost is not None
    assert item.cost.work.flops == 3 * 400 * (forward + backward) + 3 * 1397 * forward


@pytest.mark.parametrize(("seconds", "told"), [(40, "40 s"), (720, "12 min"), (131_400, "36.5 h")])
def test_hours_are_told_in_the_unit_that_fits(seconds: float, told: str) -> None:
    assert hours(seconds) == told
