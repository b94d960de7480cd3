"""The ledger: what is remembered of submissions, and how often which end of a run's start is forgiven."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cluster.ledger import Attempt, Cause, History, Ledger
from kdbench.errors import UserError
from kdbench.spec.events import Update

RUN = "0f110e0b40b4"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty one."""
    return Ledger(tmp_path)


def start(ledger: Ledger, epoch: int = 0, job: str = "1") -> None:
    """The run begins at an epoch."""
    ledger.begin(RUN, Attempt(job=job, node="n1", gpu="", started=0.0, start=epoch), max_timeouts=4)


def lives(ledger: Ledger, cause: Cause, *epochs: int) -> None:
    """The run begins at each of these epochs, and each start ends so."""
    for epoch in epochs:
        start(ledger, epoch)
        ledger.end(RUN, "1", cause, "why")


def last(ledger: Ledger) -> Attempt:
    """The run's latest start."""
    found = ledger.history(RUN).last
    assert found is not None
    return found


def test_third_crash_is_the_last(ledger: Ledger) -> None:
    lives(ledger, "crash", 1, 5, 9)
    with pytest.raises(UserError, match=r"died 3 times.*epoch 12.*kdbench retry"):
        start(ledger, 12)


def test_third_death_at_one_epoch_is_the_last(ledger: Ledger) -> None:
    lives(ledger, "time", 7)
    start(ledger, 7)  # its end is never written
    lives(ledger, "crash", 7)
    with pytest.raises(UserError, match="died 3 times after epoch 7"):
        start(ledger, 7)


def test_preemption_is_forgiven_for_ever(ledger: Ledger) -> None:
    lives(ledger, "stopped", *[3] * 50)
    start(ledger, 3)


def test_time_that_is_up_is_forgiven_as_often_as_estimated(ledger: Ledger) -> None:
    lives(ledger, "time", 1, 2, 3, 4, 5)
    with pytest.raises(UserError, match="time was up 5 times"):
        start(ledger, 6)


def test_end_that_was_never_written_is_named_at_the_next_start(ledger: Ledger) -> None:
    start(ledger)
    start(ledger, 2)
    assert [one.cause for one in ledger.history(RUN).attempts] == ["lost", ""]


def test_what_follows_the_schedulers_word_does_not_count(ledger: Ledger) -> None:
    start(ledger)
    ledger.end(RUN, "1", "stopped")
    ledger.end(RUN, "1", "crash")
    assert last(ledger).cause == "stopped"


def test_run_that_is_asked_to_stop_may_still_go_on_and_finish(ledger: Ledger) -> None:
    start(ledger)
    ledger.end(RUN, "1", "stopped")
    ledger.note_progress("1", Update(RUN, 7, 60.0, 100.0))
    ledger.end(RUN, "1", "done")
    ledger.note_progress("1", Update(RUN, 9, 70.0, 100.0))  # nothing comes after the end
    assert (last(ledger).cause, last(ledger).epoch, last(ledger).top1) == ("done", 7, 60.0)


def test_forgotten_run_starts_anew(ledger: Ledger) -> None:
    lives(ledger, "crash", 1, 2, 3)
    ledger.forget_attempts([RUN])
    start(ledger, 3)
    assert len(ledger.history(RUN).attempts) == 1


def test_run_that_failed_before_it_began_has_failed(ledger: Ledger) -> None:
    ledger.end(RUN, "7", "failed", "results: cannot be written")
    history = ledger.history(RUN)
    assert (history.failed_in("7"), history.failed_in("6")) == (True, False)
    assert last(ledger).why == "results: cannot be written"


def test_run_that_was_never_started_has_no_history(ledger: Ledger) -> None:
    start(ledger)
    histories = ledger.histories([RUN, "another"])
    assert [len(history.attempts) for history in histories.values()] == [1, 0]
    assert History().given_up(3) == ""


@pytest.mark.parametrize(
    ("file", "read", "what"),
    [
        (f"attempts/{RUN}.json", lambda ledger: ledger.history(RUN), "record of attempts"),
        ("slurm/submissions/a.json", Ledger.submissions, "record of a submission"),
    ],
)
def test_broken_record_is_named(
    ledger: Ledger, file: str, read: Callable[[Ledger], object], what: str
) -> None:
    path = ledger.scratch / file
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(UserError, match=rf"{file}: no valid {what}: .*; remove it"):
        read(ledger)


def test_records_are_those_of_earlier_versions(ledger: Ledger) -> None:
    """A cluster's jobs outlive an update of kdbench: what stands on disk is read as it was written."""
    written = {
        f"attempts/{RUN}.json": '{"attempts":[{"job":"12_3","node":"n1","gpu":"0","started":5.0,"start":2,'
        '"epoch":4,"top1":61.5,"images_per_second":900.0,"cause":"stopped","why":""}]}',
        "slurm/submissions/f0.json": '{"token":"f0","name":"tiny-first","profile":"dev","user":"me","at":9.0,'
        '"elements":[["a","b"],["c"]],"logs":"/jobs","job":"12","cancelled":[1]}',
    }
    for name, text in written.items():
        (ledger.scratch / name).parent.mkdir(parents=True)
        (ledger.scratch / name).write_text(text)
    assert (last(ledger).job, last(ledger).epoch, last(ledger).cause) == ("12_3", 4, "stopped")
    (submission,) = ledger.submissions()
    first, second = submission.jobs
    assert (first.runs, first.id, first.counts) == (("a", "b"), "12_0", True)
    assert (second.runs, second.key, second.counts) == (("c",), ("f0", 1), False)
    assert str(second.error_file) == "/jobs/12_1_0_log.err"
    ledger.save(submission)
    ledger.end(RUN, "12_3", "done")  # writes it again
    for name, text in written.items():
        changed = {"cause": "done"} if "attempts" in name else {}
        before, after = json.loads(text), json.loads((ledger.scratch / name).read_text())
        for record in before.get("attempts", [before]):
            record.update(changed)
        assert after == before


def test_job_of_a_single_element_has_the_number_alone(ledger: Ledger) -> None:
    submission = replace(ledger.new_submission("tiny-first", "dev", [["a", "b"]]), job="12")
    assert [job.id for job in submission.jobs] == ["12"]


def test_submissions_are_the_newest_first_and_those_of_the_runs_that_are_asked_for(ledger: Ledger) -> None:
    for at, runs in enumerate(["ab", "bc", "d"]):
        made = ledger.new_submission(f"{at}", "dev", [list(runs)])
        ledger.save(replace(made, at=float(at), job=f"{at}"))
    assert [one.name for one in ledger.submissions()] == ["2", "1", "0"]
    assert [one.name for one in ledger.submissions(["b"])] == ["1", "0"]
    ledger.forget_finished({"a", "b", "c"})
    assert [one.name for one in ledger.submissions()] == ["2"]


def test_submission_whose_number_was_never_written_is_broken_off(ledger: Ledger) -> None:
    known = replace(ledger.new_submission("known", "dev", [["a"]]), job="7")
    broken = ledger.new_submission("broken", "dev", [["b"]])
    others = replace(ledger.new_submission("others", "dev", [["c"]]), user="another")
    for submission in (known, broken, others):
        ledger.save(submission)
    assert ledger.broken_off() == [broken]


def test_jobs_that_are_set_aside_no_longer_count(ledger: Ledger) -> None:
    made = replace(ledger.new_submission("array", "dev", [["a"], ["b"], ["c"]]), job="7", cancelled=(2,))
    ledger.save(made)
    ledger.set_aside([made.jobs[0], made.jobs[2]])
    (found,) = ledger.submissions()
    assert [job.counts for job in found.jobs] == [False, True, False]


def test_user_without_a_name_submits_under_a_number(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)  # of whom the machine has no record
    ledger.save(ledger.new_submission("kdbench", "plain", [[RUN]]))
    assert [one.user for one in ledger.broken_off()] == ["4000000"]
