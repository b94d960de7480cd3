"""`kdbench overview`: the suites that have evidence, each kind counted on its own."""

import re
from pathlib import Path

import pytest

from kdbench.plan.selection import Selection
from kdbench.report.gather import gather
from kdbench.report.overview import FOOTNOTES, overview
from kdbench.store.released import save_evaluation
from kdbench.verdict.judge import judge
from tests.support.authors import RELEASED, evaluation, store_curves
from tests.support.command import Command
from tests.support.places import ROOT
from tests.support.project import AS_PRINTED, SUITE, change, store, write_suite

KD = "1.kd/digits_mlp:digits_cnn"


def cells(text: str, suite: str) -> list[str]:
    """The cells of a suite's line."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| suites/{suite} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_kinds_of_evidence_are_counted_apart(project: Path, kdbench: Command) -> None:
    path = write_suite(project, SUITE + RELEASED)
    write_suite(project, change(("epochs = 3", "epochs = 4")), name="untouched")
    store(project, path, {"1.base/digits_mlp": 90.0, "1.base/digits_cnn": 95.0})
    store_curves(project, {"1.kd/digits_mlp:digits_cnn": [(80.0, 91.0, 92.0), (80.0, 91.0, 92.1)]})
    save_evaluation(project / "results", evaluation(digits=92.5))
    text = kdbench("overview").out
    assert cells(text, "small")[2:6] == ["4", "2 reproduced", "1 reproduced", "1 reproduced"]
    assert "untouched" not in text


def test_author_runs_that_are_the_reference_stand_in_a_footnote(project: Path, kdbench: Command) -> None:
    write_suite(project, change(("top1 = 92.0, gain", "std = 0.1, n = 3, top1 = 92.0, gain")))
    curves = {"1.base/digits_mlp": [(80.0, 90.0)], KD: [(80.0, last) for last in (91.9, 92.0, 92.1)]}
    store_curves(project, curves)
    text = kdbench("overview").out
    assert cells(text, "small")[4] == "1 consistent, 1 row (1)"
    assert FOOTNOTES["author run"] in text
    store_curves(project, {KD: [(80.0, 91.0)]})
    assert FOOTNOTES["author run"] not in kdbench("overview").out


def test_own_references_are_not_borne_out_by_the_runs_that_made_them(project: Path, kdbench: Command) -> None:
    own = ("top1 = 90.0", 'kind = "measured", source = "here", std = 0.0, n = 2, top1 = 90.0')
    path = write_suite(project, change(own))
    store(project, path, {"1.base/digits_mlp": 90.0, "1.base/digits_cnn": 95.0})
    text = kdbench("overview").out
    assert cells(text, "small")[3] == "1 reproduced, 1 row (2)"
    assert FOOTNOTES["our runs"] in text
    assert FOOTNOTES["our runs"].splitlines()[0] in kdbench("check", "--all").out


def test_suites_without_evidence_are_left_out(project: Path, kdbench: Command) -> None:
    assert "No suite has any result yet." in kdbench("overview").out
    store(project, project / "suites" / "small.toml", AS_PRINTED)
    done = kdbench("overview", "-o", "results/README.md")
    assert done.code == 0
    assert cells((project / "results/README.md").read_text(encoding="utf-8"), "small")[3] == "3 reproduced"


@pytest.mark.slow
def test_page_of_the_repository_is_that_of_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every suite that the page names, judged again; runs that this machine alone has are no part of it."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| suites/(\w+) ", page, re.MULTILINE)
    assert {"lopezpaz_mnist", "lopezpaz_synthetic", "ls_cifar100"} <= set(names)
    made = overview(gather(judge(Selection(suites=tuple(f"suites/{name}" for name in names)))))
    assert made == page
