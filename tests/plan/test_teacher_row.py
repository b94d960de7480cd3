"""A row of the suite as a teacher: what it was taught itself is part of the student's run."""

from pathlib import Path

import pytest

from kdbench.plan.expand import expand, make_plan
from kdbench.report.words import printed
from kdbench.suite.load import load_suite
from tests.support.command import Command
from tests.support.project import SUITE, write_suite

SMOOTHED = "2/digits_cnn"
STUDENT = "3/digits_mlp:digits_cnn@2+smoothed"
TEXT = f"""{SUITE}
[[table]]
id = "2"
loss = {{ name = "lsr", epsilon = 0.1 }}
rows = [{{ student = "digits_cnn", errors = 42, of = 1397 }}]
[[table]]
id = "3"
loss = {{ name = "hinton_kd", alpha = 0.9, tau = 4 }}
rows = [
  {{ student = "digits_mlp", teacher = "digits_cnn" }},
  {{ student = "digits_mlp", teacher = "digits_cnn@2", label = "smoothed", teacher_row = "{SMOOTHED}" }},
]
"""


@pytest.fixture
def path(project: Path) -> Path:
    return write_suite(project, TEXT)


def test_named_row_of_the_same_seed_teaches(path: Path) -> None:
    suite = load_suite(path)
    (smoothed,), (student,) = (expand(suite, rows=name) for name in (SMOOTHED, STUDENT))
    for run, teacher in zip(student.runs, smoothed.runs, strict=True):
        assert run.teacher is not None
        assert (run.teacher.run, run.teacher.epoch) == (teacher, 2)
    assert {run.id for run in make_plan([student])} == {*smoothed.ids, *student.ids}


def test_other_rows_keep_the_baseline_as_their_teacher(path: Path) -> None:
    base, plain = expand(load_suite(path), rows="1.base/digits_cnn"), expand(load_suite(path), rows="3/*cnn")
    assert [run.teacher.run.id for run in plain[0].runs if run.teacher] == list(base[0].ids)


def test_error_count_is_the_reference(path: Path, kdbench: Command) -> None:
    (cell,) = expand(load_suite(path), rows=SMOOTHED)
    assert cell.row.reference.top1 == pytest.approx(100 - 4200 / 1397)
    assert printed(cell.row) == "96.99 (42 errors of 1,397)"
    (check,) = kdbench("check", "suites/small", "--rows", SMOOTHED, "--json").json
    assert (check["top1"]["word"], check["top1"]["printed"]) == ("pending", pytest.approx(96.9936, abs=1e-4))
