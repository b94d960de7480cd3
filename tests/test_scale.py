"""10,000 rows of three seeds with stored results: seconds, and linear growth; how fast a command starts."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import pytest

from kdbench.cost.estimate import describe_plan, estimate_cost
from kdbench.machine import Machine
from kdbench.plan.selection import Selection, find_work
from kdbench.report import gather, terminal
from kdbench.report.markdown import markdown
from kdbench.verdict import judge
from tests.support.large import large_project
from tests.support.places import ROOT


def seconds(work: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def _plan(chosen: Selection, machine: Machine) -> Iterator[str]:
    work = find_work(chosen, machine)
    return describe_plan(work, estimate_cost(work, machine))


def plan_check_and_report(path: Path) -> dict[str, float]:
    """The seconds that each command takes, of this process alone: others may share the cores."""
    chosen, machine = Selection(suites=(str(path),)), Machine(root=str(path.parents[1]))
    return {
        "plan": seconds(lambda: "\n".join(_plan(chosen, machine)), process_time),
        "check": seconds(lambda: terminal.table(judge.judge(chosen)), process_time),
        "report": seconds(lambda: markdown(gather.gather(judge.judge(chosen))), process_time),
    }


@pytest.mark.slow
def test_ten_thousand_rows_take_seconds_and_grow_linearly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    took: dict[int, float] = {}
    for rows in (1000, 3000, 10_000):
        path = large_project(tmp_path / str(rows), rows)
        monkeypatch.chdir(path.parents[1])
        parts = plan_check_and_report(path)
        took[rows] = sum(parts.values())
        record_property(f"seconds of {rows} rows", parts)
    assert took[10_000] < 30  # about 10 on a quiet machine; a busy one counts its waiting for memory too
    assert took[10_000] / took[1000] < 15
    assert took[10_000] / took[3000] < 5


def test_large_project_has_its_rows_and_results(tmp_path: Path) -> None:
    path = large_project(tmp_path / "a", 250)
    work = find_work(Selection(suites=(str(path),)), Machine(root=str(tmp_path / "a")))
    assert (len(work.cells), work.stored, work.runs) == (252, 756, ())


def test_plan_starts_within_15_interpreter_starts(tmp_path: Path) -> None:
    suite = str(ROOT / "suites" / "tfkd_cifar100")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(*words: str) -> float:
        command = [sys.executable, *words]
        return seconds(
            lambda: subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
        )

    start("-m", "kdbench", "plan", suite)
    pairs = [(start("-m", "kdbench", "plan", suite), start("-c", "")) for _ in range(7)]
    assert median(plan for plan, _ in pairs) / median(bare for _, bare in pairs) < 15
