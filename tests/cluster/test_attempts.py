"""The record of a run's starts: how often which end is forgiven."""

from pathlib import Path

import pytest

from kdbench.cluster import attempts
from kdbench.cluster.attempts import Attempt, Cause, begin, end, failed_in, load
from kdbench.errors import UserError

RUN = "0f110e0b40b4"


def start(scratch: Path, epoch: int = 0, job: str = "1") -> None:
    """The run begins at an epoch."""
    begin(scratch, RUN, Attempt(job=job, node="n1", gpu="", started=0.0, start=epoch), times=4)


def lives(scratch: Path, cause: Cause, *epochs: int) -> None:
    """The run begins at each of these epochs, and each start ends so."""
    for epoch in epochs:
        start(scratch, epoch)
        end(scratch, RUN, "1", cause, "why")


def test_third_crash_is_the_last(tmp_path: Path) -> None:
    lives(tmp_path, "crash", 1, 5, 9)
    with pytest.raises(UserError, match=r"died 3 times.*epoch 12.*kdbench retry"):
        start(tmp_path, 12)


def test_third_death_at_one_epoch_is_the_last(tmp_path: Path) -> None:
    lives(tmp_path, "time", 7)
    start(tmp_path, 7)  # nobody sees its end
    lives(tmp_path, "crash", 7)
    with pytest.raises(UserError, match="died 3 times after epoch 7"):
        start(tmp_path, 7)


def test_preemption_is_forgiven_for_ever(tmp_path: Path) -> None:
    lives(tmp_path, "stopped", *[3] * 50)
    start(tmp_path, 3)


def test_time_that_is_up_is_forgiven_as_often_as_estimated(tmp_path: Path) -> None:
    lives(tmp_path, "time", 1, 2, 3, 4, 5)
    with pytest.raises(UserError, match="time was up 5 times"):
        start(tmp_path, 6)


def test_end_that_nobody_saw_is_named_at_the_next_start(tmp_path: Path) -> None:
    start(tmp_path)
    start(tmp_path, 2)
    assert [one.cause for one in load(tmp_path, RUN).attempts] == ["lost", ""]


def test_what_follows_the_schedulers_word_does_not_count(tmp_path: Path) -> None:
    start(tmp_path)
    end(tmp_path, RUN, "1", "stopped")
    end(tmp_path, RUN, "1", "crash")
    last = load(tmp_path, RUN).last
    assert last is not None
    assert last.cause == "stopped"


def test_forgotten_run_starts_anew(tmp_path: Path) -> None:
    lives(tmp_path, "crash", 1, 2, 3)
    attempts.forget(tmp_path, [RUN])
    start(tmp_path, 3)
    assert len(load(tmp_path, RUN).attempts) == 1


def test_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / f"{RUN}.json").write_text("{")
    with pytest.raises(UserError, match="remove it"):
        load(tmp_path, RUN)


def test_run_that_failed_before_it_began_has_failed(tmp_path: Path) -> None:
    end(tmp_path, RUN, "7", "failed", "results: cannot be written")
    last = load(tmp_path, RUN).last
    assert failed_in(last, "7")
    assert last is not None
    assert last.why == "results: cannot be written"
