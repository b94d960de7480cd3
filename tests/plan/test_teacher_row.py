"""A row of the suite as a teacher: what it was taught itself is part of the student's run."""

from pathlib import Path

import pytest

from kdbench.plan.expand import expand, make_plan
from kdbench.report.words import printed
from kdbench.spec.runs import Run
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


CHAIN = """\
[[table]]
id = "4"
loss = { name = "kd", alpha = 0.9, tau = 4 }
rows = [
  { student = "digits_mlp", teacher = "digits_cnn", label = "one" },
  { student = "digits_mlp", teacher = "self", label = "two", teacher_row = "4/digits_mlp:digits_cnn+one" },
  { student = "digits_cnn", teacher = "digits_mlp", teacher_row = "4/digits_mlp:self+two" },
]
"""


def generations(run: Run) -> list[Run]:
    """A run, its teacher, and so on to the one that nobody taught."""
    return [run] if run.teacher is None else [run, *generations(run.teacher.run)]


@pytest.mark.parametrize("shared", [False, True])
def test_chain_of_three_taught_generations_is_planned_teachers_first(path: Path, *, shared: bool) -> None:
    """Each seed has its own, or all of them the one of the teacher seed."""
    text = f"{TEXT}{CHAIN}"
    text = text.replace('dataset = "digits"', 'dataset = "digits"\nteacher_seed = 1', int(shared))
    [cell] = expand(load_suite(write_suite(path.parent.parent, text)), rows="4/digits_cnn:digits_mlp")
    lines = [generations(run) for run in cell.runs]
    for seed, line in enumerate(lines):
        assert [each.student for each in line] == ["digits_cnn", "digits_mlp", "digits_mlp", "digits_cnn"]
        assert [each.loss.name for each in line] == ["kd_released"] * 3 + ["ce"]
        assert [each.seed for each in line] == [seed, *[1 if shared else seed] * 3]
    plan = make_plan([cell])
    assert len(plan) == (5 if shared else 8)
    assert plan[:4] == tuple(reversed(lines[0]))
