"""Suites whose teachers see something else than their students, and rows that are means over rows."""

from pathlib import Path

import pytest

from kdbench.plan.expand import expand, make_plan
from kdbench.spec.runs import Run
from kdbench.spec.suites import Cell
from kdbench.spec.verdicts import Word
from kdbench.suite.load import load_suite
from kdbench.verdict.check import check_suite
from tests.support.build import make_result
from tests.support.project import change, write_suite
from tests.support.refused import problems_of
from tests.support.suites import shipped

SUITE = """\
[suite]
paper = "A paper"
dataset = "mnist_7x7"
seeds = 2
[tolerance]
top1 = 0.5
gain = 0.5
[recipe]
epochs = 1
batch_size = 32
lr = 0.1
[[delta]]
at = "code.py:1"
why = "other images"
dataset = { mnist = "digits" }
[[table]]
id = "a.teacher"
dataset = "mnist"
recipe = { subset = 300 }
loss = { name = "ce" }
rows = [{ student = "blank" }]
[[table]]
id = "b.teacher"
dataset = "mnist"
recipe = { subset = 500 }
loss = { name = "ce" }
rows = [{ student = "blank" }]
[[table]]
id = "a.mean"
recipe = { subset = 300 }
loss = { name = "ce" }
rows = [{ student = "logistic", label = "both", mean = ["a.kd/*"], top1 = 60.0, std = 0.0, n = 2 }]
[[table]]
id = "a.kd"
teacher_dataset = "mnist"
recipe = { subset = 300 }
loss = { name = "lopezpaz", T = 2 }
rows = [
  { student = "blank", teacher = "blank", label = "lam0.1", loss = { lam = 0.1 }, recipe = { draw = 1 } },
  { student = "blank", teacher = "blank", label = "lam0.9", loss = { lam = 0.9 }, recipe = { draw = 2 } },
]
"""
FIRST = "a.kd/blank:blank+lam0.1"


def cells(folder: Path, *edits: tuple[str, str], printed: bool = True) -> dict[str, Cell]:
    suite = load_suite(write_suite(folder, change(*edits, suite=SUITE)))
    return {cell.row.name: cell for cell in expand(suite, variant="printed" if printed else "released")}


def test_teacher_is_that_of_the_named_data_set_and_of_as_many_images(tmp_path: Path) -> None:
    found = cells(tmp_path)
    run = found[FIRST].runs[1]
    assert run.teacher is not None
    assert run.teacher.run == found["a.teacher/blank"].runs[1]
    assert (run.dataset, run.teacher.run.dataset, run.teacher.run.recipe.subset) == (
        "mnist_7x7",
        "mnist",
        300,
    )


def test_delta_of_a_data_set_reaches_teachers_and_students(tmp_path: Path) -> None:
    found = cells(tmp_path, printed=False)
    assert found["b.teacher/blank"].runs[0].dataset == "digits"
    taught = found[FIRST].runs[0].teacher
    assert taught is not None
    assert taught.run.dataset == "digits"


def test_rows_of_one_student_and_teacher_are_told_apart_by_their_labels(tmp_path: Path) -> None:
    names = [name for name in cells(tmp_path) if name.startswith("a.kd")]
    assert names == [FIRST, "a.kd/blank:blank+lam0.9"]


def test_draw_is_part_of_the_identity(tmp_path: Path) -> None:
    same = ("recipe = { draw = 2 }", "recipe = { draw = 1 }"), ("lam = 0.9", "lam = 0.1")
    assert len({cell.ids for cell in cells(tmp_path).values()}) == 5
    assert len({cell.ids for cell in cells(tmp_path, *same).values()}) == 4


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (('teacher_dataset = "mnist"\n', ""), "no row trains the teacher 'blank' with subset = 300"),
        (
            ('teacher_dataset = "mnist"', 'teacher_dataset = "mnits"'),
            "unknown data set 'mnits'. Did you mean",
        ),
        (('dataset = "mnist"\n', 'dataset = "mnits"\n'), "unknown data set 'mnits'. Did you mean 'mnist'?"),
        (
            ('{ mnist = "digits" }', '{ mnist = "dijits" }'),
            "unknown data set 'dijits'. Did you mean 'digits'?",
        ),
        (('["a.kd/*"]', '["c.kd/*"]'), "mean: unknown table or rows 'c.kd/*'"),
        (('["a.kd/*"]', '["a.mean"]'), "mean: a mean is over rows that are trained"),
        (("top1 = 60.0", "top1 = 60.0, gain = 1.0"), "mean: it has neither a teacher nor a gain"),
        (("top1 = 60.0", "top1 = 60.0, seeds = 3"), "mean: seeds = 3, of which its rows train 2"),
        (('label = "both"', 'label = "a b"'), "label = 'a b'"),
    ],
)
def test_mistakes_are_reported(tmp_path: Path, edit: tuple[str, str], wrong: str) -> None:
    assert wrong in "\n".join(problems_of(cells, tmp_path, edit))


def judged(cell: Cell, values: dict[str, float]) -> tuple[Word, dict[int, float]]:
    def name(run: Run) -> str:
        return f"{run.loss.params['lam']} {run.seed}"

    trained = [run for run in cell.runs if name(run) in values]
    there = {run.id: make_result(run, values[name(run)]) for run in trained}
    (check,) = check_suite([cell], there)
    return check.top1.word, check.values


def test_mean_over_rows_has_one_value_for_each_seed(tmp_path: Path) -> None:
    """Rows of a seed share its images: the mean of a seed is one value, and there are as many as seeds."""
    values = {"0.1 0": 50.0, "0.9 0": 70.2, "0.1 1": 59.8, "0.9 1": 60.0}
    word, means = judged(cells(tmp_path)["a.mean/logistic+both"], values)
    assert means == {0: pytest.approx(60.1), 1: pytest.approx(59.9)}
    assert word is Word.CONSISTENT


def test_mean_leaves_out_a_seed_that_lacks_a_row(tmp_path: Path) -> None:
    values = {"0.1 0": 50.0, "0.1 1": 59.8, "0.9 1": 60.0}
    assert judged(cells(tmp_path)["a.mean/logistic+both"], values)[1] == {1: pytest.approx(59.9)}


def test_mean_trains_nothing_of_its_own(tmp_path: Path) -> None:
    found = cells(tmp_path)
    assert set(found["a.mean/logistic+both"].ids) == {
        *found[FIRST].ids,
        *found["a.kd/blank:blank+lam0.9"].ids,
    }


def test_mnist_grid_is_1760_networks() -> None:
    plan = make_plan(expand(shipped("lopezpaz_mnist")))
    assert len(plan) == 10 * 2 * 60 + 40 * 2 * 7
    assert sum(run.teacher is None for run in plan) == 80


def test_synthetic_rows_take_the_data_of_the_code_or_of_the_paper() -> None:
    suite = shipped("lopezpaz_synthetic")
    for variant, dataset, tested in (("printed", "synthetic4", 0), ("released", "synthetic4_released", 1000)):
        (cell,) = expand(suite, variant=variant, rows="4.distilled/*", seeds=[3])  # type: ignore[arg-type]
        (run,) = cell.runs
        assert run.teacher is not None
        assert (run.dataset, run.teacher.run.dataset) == (dataset, f"{dataset}_privileged")
        assert run.recipe.test_size == tested
