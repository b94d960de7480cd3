"""What the training side is asked in a process of its own."""

from collections.abc import Iterator

import pytest

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.workers.call import call_in_subprocess

ECHO = "tests.support.worker_targets:echo"


def asked(*words: str) -> Iterator[object]:
    return call_in_subprocess(Machine(root="."), ECHO, list(words))


def test_answers_come_as_they_are_said_and_what_is_wrong_comes_whole() -> None:
    answers = asked("a", "b", "wrong")
    assert [next(answers), next(answers)] == ["a", "b"]
    with pytest.raises(UserError) as error:
        next(answers)
    assert error.value.problems == ("one", "two")


def test_place_that_cannot_be_read_is_told_as_in_this_process() -> None:
    with pytest.raises(PermissionError) as error:
        list(asked("closed"))
    assert (error.value.filename, error.value.strerror) == ("/data", "Permission denied")


def test_error_that_nobody_expected_comes_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by zero") as error:
        list(asked("broken"))
    assert "in echo\n" in error.value.__notes__[0]
    assert capfd.readouterr().err == ""


def test_process_that_dies_is_told() -> None:
    with pytest.raises(UserError, match=rf"{ECHO}: its process died \(exit code 3\)"):
        list(asked("end"))
