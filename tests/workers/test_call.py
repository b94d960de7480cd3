"""What the training side is asked in a process of its own, and what is refused before anything is trained."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.workers.call import call_in_subprocess
from tests.support.command import Command


def echo(_: Machine, words: list[str]) -> Iterator[str]:
    """Each word; `wrong` is wrong in two ways, and `end` is the end of the process."""
    for word in words:
        if word == "broken":
            raise ZeroDivisionError("by zero")
        if word == "closed":
            raise PermissionError(13, "Permission denied", "/data")
        if word == "wrong":
            raise UserError("one", "two")
        if word == "end":
            os._exit(3)
        yield word


def asked(*words: str) -> Iterator[object]:
    return call_in_subprocess(Machine(root="."), f"{__name__}:echo", list(words))


def test_answers_come_as_they_are_said() -> None:
    answers = asked("a", "b", "wrong")
    assert [next(answers), next(answers)] == ["a", "b"]


def test_what_is_wrong_comes_whole() -> None:
    with pytest.raises(UserError) as error:
        list(asked("wrong"))
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
    with pytest.raises(UserError, match=r"tests\.workers\.test_call:echo: its process died \(exit code 3\)"):
        list(asked("end"))


@pytest.mark.parametrize(
    ("device", "precision", "why"),
    [
        ("auto", "tf32", "precision tf32 is arithmetic of GPUs"),
        ("cuda:99", "float32", "benchmark.toml, [local], device = 'cuda:99'"),
    ],
)
def test_device_that_cannot_train_is_refused_at_once(
    kdbench: Command, project: Path, device: str, precision: str, why: str
) -> None:
    settings = f'[data]\noffline = true\n[local]\ndevice = "{device}"\n'
    (project / "benchmark.toml").write_text(settings, encoding="utf-8")
    done = kdbench("run", "suites/small", "--precision", precision)
    assert (done.code, done.out, done.err.count("error: ")) == (2, "", 1)
    assert why in done.err
    assert not (project / "results").exists()
