"""`kdbench bench`: which kinds of runs are measured, what is kept, what a plan then knows."""

from pathlib import Path

import pytest

from kdbench.cost.speeds import Measured, Record, Speed, kind
from kdbench.device import Device
from kdbench.errors import UserError
from kdbench.run.bench import describe, find_runs
from tests.support.command import Command
from tests.support.project import AS_PRINTED, store


@pytest.mark.usefixtures("project")
def test_suite_is_measured_kind_by_kind() -> None:
    assert [kind(run) for run in find_runs(["suites/small"], "released")] == [
        "digits_mlp digits b32 float32",
        "digits_cnn digits b32 float32",
        "digits_mlp<digits_cnn digits b32 float32",
    ]


@pytest.mark.usefixtures("project")
def test_row_is_measured_with_its_teacher_in_its_precision() -> None:
    runs = find_runs(["small/1.kd/digits_mlp:digits_cnn"], "released", "bf16")
    assert [kind(run) for run in runs] == [
        "digits_cnn digits b32 bf16",
        "digits_mlp<digits_cnn digits b32 bf16",
    ]


@pytest.mark.usefixtures("project")
def test_target_that_is_neither_is_refused() -> None:
    with pytest.raises(UserError, match="unknown row"):
        find_runs(["small/1.kd"], "released")


def test_speeds_are_told_with_their_share_of_the_floor() -> None:
    speed = Speed(Measured(50_000.0, 0.014), Measured(99.6, None), Measured(500.0, 0.5), None, 1234, 0)
    line = describe(Record(Device("X", 1), "2.0", {}, {"a": speed})).splitlines()[-1]
    assert " ".join(line.split()) == "a 50,000 (1 %) 100 - 500 (50 %) 1,234 0"


@pytest.mark.slow
def test_bench_keeps_speeds_that_a_plan_uses(kdbench: Command, project: Path) -> None:
    done = kdbench("bench", "suites/small")
    assert (done.code, done.out.count("digits b32 float32")) == (0, 3)
    (file,) = (project / "results" / "bench").glob("*.json")
    assert f"kept in {file}" in done.out or f"results/bench/{file.name}" in done.out
    plan = kdbench("plan", "suites/small").out
    assert "unmeasured" not in plan
    assert "for 6 runs, each alone" in plan
    assert not (project / ".kdbench").exists()
    store(project, project / "suites" / "small.toml", AS_PRINTED)
    assert kdbench("bench", "small/1.kd/digits_mlp:digits_cnn").code == 0  # whose teacher has other weights
