"""The ledger against the scheduler: which jobs live, which ended before they began, and what these wrote."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cluster.ledger import Attempt, History, Ledger, Submission
from kdbench.cluster.queue import SchedulerSnapshot, read_death, try_snapshot
from kdbench.cluster.scheduler import JobStatus, View


@pytest.fixture
def array(tmp_path: Path) -> Submission:
    """An array of the runs a, b and c, each in a job of its own."""
    return replace(Ledger(tmp_path).new_submission("array", "dev", [["a"], ["b"], ["c"]]), job="7")


def seen(submission: Submission, *states: str) -> View:
    """The scheduler shows the first jobs of an array in these states."""
    return {
        (submission.token, number): JobStatus(job=f"7_{number}", state=state, reason="", start="", node="n1")
        for number, state in enumerate(states)
    }


def test_run_is_under_way_in_a_job_that_lives_and_counts(array: Submission) -> None:
    cancelled = replace(array, cancelled=(1,))
    known = SchedulerSnapshot([cancelled], seen(array, "PENDING", "RUNNING", "COMPLETED"))
    assert {run: job.id for run, job in known.under_way(["a", "b", "c", "d"]).items()} == {"a": "7_0"}


def test_job_whose_number_is_not_written_down_has_that_of_the_scheduler(array: Submission) -> None:
    known = SchedulerSnapshot([replace(array, job="")], seen(array, "PENDING", "RUNNING"))
    assert {run: job.id for run, job in known.under_way(["b"]).items()} == {"b": "7_1"}
    assert known.never_began({"c": History()}) == {}, "it is being submitted"


def test_job_that_is_over_and_has_written_nothing_never_began(array: Submission) -> None:
    known = SchedulerSnapshot([array], seen(array, "RUNNING", "FAILED"))  # the third one is forgotten
    begun = History((Attempt(job="7_1", node="n1", gpu="", started=0.0, start=0),))
    dead = known.never_began({"a": History(), "b": begun, "c": History()})
    assert {run: [job.id for job in jobs] for run, jobs in dead.items()} == {"c": ["7_2"]}
    assert [*known.never_began({"b": History()})] == ["b"]
    set_aside = SchedulerSnapshot([replace(array, cancelled=(2,))], known.view)
    assert set_aside.never_began({"c": History()}) == {}
    assert replace(known, trouble="no answer").never_began({"c": History()}) == {}


def test_scheduler_that_is_not_there_is_trouble(
    array: Submission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ledger = Ledger(tmp_path)
    ledger.save(array)
    assert try_snapshot(ledger, ["another"]).trouble == "", "it is not asked"
    known = try_snapshot(ledger, ["a"])
    assert "no squeue on PATH" in known.trouble
    assert [(job.id, status) for job, status in known.jobs()] == [("7_0", None), ("7_1", None), ("7_2", None)]


NO_PYTHON = "slurmstepd-n1: error: execve(): /x/python: No such file or directory"
EXITED = "srun: error: n1: task 0: Exited with exit code 2"
ENDED = "*** JOB 870 ON n1 CANCELLED AT 2026-11-28T20:02:18"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "ended before kdbench began"),
        ("a\n\nsrun: error: n1: task 0\n", "ended before kdbench began: a (FILE)"),
        (f"{NO_PYTHON}\n{EXITED}\n", f"ended before kdbench began: {NO_PYTHON} (FILE)"),
        (f"{EXITED}\n{NO_PYTHON}\n", f"ended before kdbench began: {NO_PYTHON} (FILE)"),
        (f"{NO_PYTHON}\nslurmstepd: error: *** x ***\n", f"ended before kdbench began: {NO_PYTHON} (FILE)"),
        ("srun: error\n", "ended before kdbench began: srun: error (FILE)"),
        (f"n1: {ENDED} ***\n", f"was cancelled before kdbench began: n1: {ENDED} *** (FILE)"),
        (f"x\nslurmstepd-n1: error: {ENDED} ***\n", "was cancelled before kdbench began: x (FILE)"),
        (f"x\nslurmstepd: {ENDED} DUE TO TIME LIMIT ***\n", "ended before kdbench began: x (FILE)"),
    ],
)
def test_words_for_a_job_that_never_began(array: Submission, written: str, says: str) -> None:
    job = array.jobs[1]
    job.error_file.parent.mkdir(parents=True)
    if written:
        job.error_file.write_text(written)
    death = read_death(job)
    assert str(death) == f"job 7_1 {says}".replace("FILE", str(job.error_file))
    assert death.cancelled == ("was cancelled" in says)
