"""Rows of released weights: evaluated, never trained, judged without a seed, and counted apart."""

from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.plan.selection import Selection
from kdbench.report import gather
from kdbench.report.formats import FORMATS, write_out
from kdbench.store.released import save_evaluation
from kdbench.suite.load import load_suite
from kdbench.verdict.check import exit_code, headline
from kdbench.verdict.judge import judge
from kdbench.verdict.published import published_headline
from tests.support.authors import RELEASED, evaluation
from tests.support.command import Command
from tests.support.places import ROOT
from tests.support.project import change, write_suite

TEXT = change(("[[delta]]", f"{RELEASED}\n[[delta]]"))
ROW = "released/digits_cnn"


@pytest.mark.parametrize(("value", "word"), [(92.5, "reproduced"), (93.01, "above"), (91.9, "below")])
def test_one_evaluation_is_judged_without_a_seed(project: Path, value: float, word: str) -> None:
    write_suite(project, TEXT)
    save_evaluation(project / "results", evaluation(digits=value))
    [(suite, checks)] = judge(Selection(suites=("suites/small",))).suites
    (check,) = (check for check in checks if check.row.name == ROW)
    assert check.published is not None
    assert (check.published.kind, check.published.top1.word) == ("released weights", word)
    assert check.published.sources == ("github.com/a/b",)
    assert check.top1.reason == "released weights are evaluated, not trained"
    assert headline(checks).startswith("0 of 3 accuracies"), "the three rows that are trained"
    assert exit_code(checks) == 0
    assert f"{int(word == 'reproduced')} of 1 accuracies reproduced" in published_headline(checks)
    assert published_headline(checks).startswith("Released weights, evaluated by kdbench")
    assert not any(row.is_baseline for row in suite.rows if row.name == ROW)


def test_every_format_names_released_weights(project: Path, kdbench: Command) -> None:
    write_suite(project, TEXT)
    save_evaluation(project / "results", evaluation(digits=92.5))
    reports = gather.gather(judge(Selection(suites=("suites/small",))))
    texts = {kind: write_out(reports, kind) for kind in FORMATS}
    assert "## Released weights" in texts["markdown"]
    assert "<h2>Released weights</h2>" in texts["html"]
    assert all("released weights" in texts[kind] for kind in ("markdown", "html", "json", "csv"))
    assert "released weights" in kdbench("check", "suites/small").out
    assert "1 row skipped, not to be trained: released weights are evaluated" in (
        kdbench("run", "suites/small", "--dry-run").out
    )


def test_without_an_evaluation_the_row_waits(project: Path) -> None:
    write_suite(project, TEXT)
    [(_, checks)] = judge(Selection(suites=("suites/small",))).suites
    assert [check.published for check in checks] == [None] * 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'released = "friend"',
            'released = "fiend"',
            "unknown imported weights 'fiend'. Did you mean 'friend'",
        ),
        ('student = "digits_cnn", released', 'student = "digits_mlp", released', "weights are of digits_cnn"),
        ('released = "friend"', 'released = "friend", teacher = "self"', "nobody teaches; leave out teacher"),
    ],
)
def test_rows_of_released_weights_that_contradict_their_weights(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_suite(tmp_path, change((old, new), suite=TEXT))
    with pytest.raises(UserError, match=message):
        load_suite(path)


def test_fnkds_released_teacher_is_judged_from_a_fresh_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    [(_, checks)] = judge(Selection(suites=("suites/fnkd_cifar100_coarse",), rows="released/*")).suites
    (check,) = checks
    assert check.published is not None
    assert check.published.values == {0: pytest.approx(81.73)}
    assert check.published.top1.word == "reproduced"
