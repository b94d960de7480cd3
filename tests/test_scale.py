"""10,000 rows of three seeds with stored results: seconds, bytes, growth; how fast a command starts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import pytest

from kdbench.cluster import commands
from kdbench.cost.estimate import describe_plan, estimate_cost
from kdbench.machine import Machine
from kdbench.plan.selection import Selection, find_work
from kdbench.report import gather, html, terminal
from kdbench.report.data import as_json
from kdbench.report.markdown import markdown
from kdbench.run.status import describe
from kdbench.verdict import judge
from tests.bench import starts
from tests.support.counting import calls
from tests.support.large import large_project
from tests.support.places import ROOT

MOST_BYTES = {"page": 5_000_000, "json": 16_000_000}
"""Of the reports of 10,000 rows of three seeds."""
MOST_STARTS = 2_000
"""Of bare interpreters, whose CPU seconds all commands together take for 10,000 rows: about 1,100."""
MOST_LOOKS = 12
"""At files, for each run: its result is opened, measured and read once by each command that judges."""


def seconds(work: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def work_on(path: Path) -> dict[str, Callable[[], object]]:
    """What each command does with a suite."""
    chosen, machine = Selection(suites=(str(path),)), Machine(root=str(path.parents[1]))

    def plan() -> None:
        work = find_work(chosen, machine)
        "\n".join(describe_plan(work, estimate_cost(work, machine)))

    def report() -> None:
        reports = gather.gather(judge.judge(chosen))
        markdown(reports)
        as_json(reports)
        html.page_files(reports, "report.html")

    return {
        "plan": plan,
        "check": lambda: terminal.table(judge.judge(chosen)),
        "report": report,
        "status": lambda: list(describe(commands.states(chosen)[0])),
    }


@pytest.mark.parametrize("command", ["plan", "check", "report", "status"])
def test_work_grows_with_the_number_of_rows_and_no_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(html, "ONE_FILE", 0)
    counted, looked = {}, {}
    for rows in (4, 12, 48):
        path = large_project(tmp_path / str(rows), rows)
        monkeypatch.chdir(path.parents[1])
        counted[rows], looked[rows] = calls(work_on(path)[command])
    assert counted[48] / counted[12] < 4.5
    assert looked[48] < looked[4] + MOST_LOOKS * 3 * 48


@pytest.mark.slow
def test_ten_thousand_rows_take_seconds_and_few_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    path = large_project(tmp_path / "a", 10_000)
    monkeypatch.chdir(path.parents[1])
    took, bare = {}, []
    for name, work in work_on(path).items():  # in turns: a busy machine is slow with both
        took[name] = seconds(work, process_time)
        bare += [starts.seconds(starts.BARE) for _ in range(3)]
    reports = gather.gather(judge.judge(Selection(suites=(str(path),))))
    files = html.page_files(reports, "report.html")
    size = {"page": len(files.pop("report.html")), "json": len(as_json(reports).encode())}
    record_property("seconds", took)
    record_property("bytes", {**size, "files": sum(map(len, files.values()))})
    assert sum(took.values()) / median(bare) < MOST_STARTS
    assert {name for name in size if size[name] > MOST_BYTES[name]} == set()


def test_large_project_has_its_rows_and_results(tmp_path: Path) -> None:
    path = large_project(tmp_path / "a", 120)
    work = find_work(Selection(suites=(str(path),)), Machine(root=str(tmp_path / "a")))
    assert (len(work.cells), work.stored, work.runs) == (122, 366, ())


@pytest.mark.slow
def test_plan_starts_within_15_interpreter_starts(tmp_path: Path) -> None:
    suite = str(ROOT / "suites" / "tfkd_cifar100")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(*words: str) -> float:
        command = [sys.executable, *words]
        return seconds(
            lambda: subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
        )

    start("-m", "kdbench", "plan", suite)
    pairs = [(start("-m", "kdbench", "plan", suite), start("-c", "")) for _ in range(5)]
    assert median(plan for plan, _ in pairs) / median(bare for _, bare in pairs) < 15
