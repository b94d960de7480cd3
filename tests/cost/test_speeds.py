"""What was measured of a device, and what a run will take by it, and by stored results of its like."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cost.counts import Work
from kdbench.cost.speeds import (
    Attainable,
    Measured,
    Need,
    Record,
    Speed,
    expected_need,
    file_of,
    kind,
    load_record,
    measured_seconds,
    save_record,
)
from kdbench.device import Device, cpu_name, device_at_hand
from kdbench.errors import UserError
from kdbench.machine import Local, Machine
from kdbench.spec.results import Result
from kdbench.spec.runs import Run
from kdbench.store.records import index, save_result
from tests.support.build import CE, make_result, make_run

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


# What a run needs, on whichever device.

RUN = make_run("resnet18", 0, CE)
"""Two epochs of 50,000 images."""
GIB = 2**30


def needs(folder: Path, *stored: Result, of: Run = RUN) -> Need:
    """What a run needs by these results, where nothing is assumed to be 100 images/s."""
    for result in stored:
        save_result(folder, result)
    return expected_need(index(folder), 100.0)(of)


def measured(run: Run, seconds: float, peak: int, device: str = "cpu") -> Result:
    """A result that took so long, and so many GiB."""
    result = make_result(run, *[50.0] * run.recipe.epochs)
    return replace(result, seconds=seconds, peak_memory=peak * GIB, environment={"device": device})


def test_need_without_results_is_assumed(tmp_path: Path) -> None:
    assert needs(tmp_path) == Need(1000.0, None)


def test_need_is_that_of_another_seed(tmp_path: Path) -> None:
    assert needs(tmp_path, measured(make_run("resnet18", 7, CE), 400.0, 3)) == Need(400.0, 3.0)


def test_speed_is_that_of_the_longest_and_memory_the_largest(tmp_path: Path) -> None:
    short = replace(RUN, recipe=replace(RUN.recipe, train_size=256))
    found = needs(tmp_path, measured(short, 400.0, 3), measured(make_run("resnet18", 1, CE), 500.0, 2))
    assert found == Need(500.0, 3.0)


@pytest.mark.parametrize(
    "other",
    [
        make_run("resnet50", 0, CE),
        replace(RUN, dataset="cifar10"),
        make_run("resnet18", 0),
    ],
)
def test_result_of_another_kind_measures_nothing(tmp_path: Path, other: Run) -> None:
    assert needs(tmp_path, measured(other, 400.0, 3)) == Need(1000.0, None)


def test_memory_of_another_batch_size_or_of_a_gpu_does_not_count(tmp_path: Path) -> None:
    other = replace(RUN, recipe=replace(RUN.recipe, batch_size=512))
    on_gpu = measured(make_run("resnet18", 1, CE), 400.0, 3, "cuda")
    assert needs(tmp_path, measured(other, 400.0, 3), on_gpu) == Need(400.0, None)


def test_memory_of_several_processes_is_divided_among_them(tmp_path: Path) -> None:
    stored = measured(RUN, 400.0, 8)
    shared = replace(stored, environment={**stored.environment, "processes": 4})
    assert needs(tmp_path, shared) == Need(400.0, 2.0)


def test_broken_result_measures_nothing(tmp_path: Path) -> None:
    save_result(tmp_path, measured(RUN, 400.0, 3)).write_text("{")
    assert needs(tmp_path) == Need(1000.0, None)
