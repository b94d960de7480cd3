"""What a plan costs: hours where they are known, else none; what company saves."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cost.estimate import describe_cost, estimate_cost, hours, savings
from kdbench.cost.speeds import Attainable, Measured, Record, Speed, kind, save_record
from kdbench.device import cpu_name, device_at_hand
from kdbench.machine import Local, Machine
from kdbench.plan.selection import Selection, find_work
from kdbench.spec.runs import Loss
from tests.support.build import make_run
from tests.support.project import make_project


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


def test_estimate_of_what_was_not_measured_says_so(tmp_path: Path) -> None:
    work = find_work(Selection(suites=(str(make_project(tmp_path)),)), Machine(root=str(tmp_path)))
    estimate = estimate_cost(work, Machine(root=str(tmp_path), local=Local(device="cpu")))
    lines = list(describe_cost(estimate, work.runs, ["suites/small"]))
    unmeasured = f"unmeasured on {cpu_name()}, 1 thread: 6 runs; `kdbench bench suites/small` measures"
    assert lines[1] == f"time         {unmeasured}"


def test_estimate_adds_up_what_was_measured(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path), local=Local(device="cpu"))
    work = find_work(Selection(suites=(str(make_project(tmp_path)),), seeds=(0,)), machine)
    speed = Speed(data=Measured(50_000.0, 0.1), step=Measured(100.0, 0.5), evaluation=Measured(500.0, None))
    kinds = {kind(run): speed for run in (work.runs[0], work.runs[-1])}
    best = {"float32": Attainable(1e11, 1e10)}
    save_record(machine.results, Record(device_at_hand(machine), "2.0", best, kinds))
    estimate = estimate_cost(work, machine)
    known = [item.seconds.whole for item in estimate.items.values() if item.seconds]
    line = list(describe_cost(estimate, work.runs, ["suites/small"]))[1]
    assert len(known) == 2
    assert f"{hours(sum(known))} on " in line
    assert "for 2 of 3 runs, each alone; unmeasured" in line


def test_flops_of_an_estimate_are_those_of_the_runs(tmp_path: Path) -> None:
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
