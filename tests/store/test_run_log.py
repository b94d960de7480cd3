"""Where a run's log lies."""

import subprocess
from pathlib import Path

from kdbench.machine import Machine
from kdbench.store.run_log import log, log_files
from tests.support.build import make_run

RUN = make_run()


def test_log_is_added_to_beside_the_result(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path))
    log(machine, RUN, "jobs.log", "one\n")
    path = log(machine, RUN, "jobs.log", "two\n")
    assert path == tmp_path / "results" / "cifar100" / "logs" / f"mobilenetv2-kd.s0.{RUN.id}.jobs.log"
    assert path.read_text() == "one\ntwo\n"


def test_log_of_a_trial_lies_with_the_trials(tmp_path: Path) -> None:
    path = log(Machine(root=str(tmp_path)), RUN, "jobs.log", "one\n", trial=True)
    assert path
    assert path.parent == tmp_path / "results" / "trials" / "cifar100" / "logs"


def test_traceback_replaces_an_older_one(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path))
    log(machine, RUN, "log", "one\n", anew=True)
    path = log(machine, RUN, "log", "two\n", anew=True)
    assert path
    assert path.read_text() == "two\n"


def test_log_is_none_of_gits_business(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    log(Machine(root=str(tmp_path)), RUN, "log", "one\n")
    seen = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert seen.stdout == ""


def test_log_goes_to_scratch_where_results_cannot_be_written(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path))
    machine.results.write_text("a file, not a folder")
    path = log(machine, RUN, "log", "one\n")
    assert path
    assert path.read_text() == "one\n"
    assert path == log_files(machine, RUN, "log")[1] == tmp_path / ".kdbench" / "logs" / path.name


def test_log_that_can_be_written_nowhere_costs_nothing(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path))
    machine.results.write_text("a file, not a folder")
    machine.scratch.write_text("another")
    assert log(machine, RUN, "log", "one\n") is None
