"""Author runs in every form of a report: beside ours, named, and never among our counts."""

import csv
import io
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.plan.selection import Selection
from kdbench.report import gather, terminal
from kdbench.report.content import Report
from kdbench.report.formats import FORMATS, write_out
from kdbench.report.plots import draw
from kdbench.report.published import last_or_best_sentence
from kdbench.report.summary import summary
from kdbench.verdict.judge import judge
from tests.support.authors import store_curves
from tests.support.command import Command
from tests.support.project import AS_PRINTED, change, store, write_suite

MLP, CNN, KD = AS_PRINTED
CURVES = {KD: [(80.0, 92.5, 92.0), (81.0, 92.6, 92.2)], MLP: [(70.0, 90.0, 89.5), (70.0, 90.0, 89.7)]}
CLAIM = (
    "[[delta]]",
    '[[claim]]\nid = "kd"\nsays = "KD helps"\nsection = "1"\nimproves = ["1.kd"]\n\n[[delta]]',
)


@pytest.fixture
def report(project: Path) -> Report:
    """One row of ours, two of the authors'."""
    path = write_suite(project, change(CLAIM))
    store(project, path, {KD: 92.0})
    store_curves(project, CURVES)
    return gather.gather(judge(Selection(suites=(str(path),))))[0]


@pytest.mark.parametrize("kind", ["markdown", "html"])
def test_report_has_a_section_of_author_runs_with_ours_beside(report: Report, kind: str) -> None:
    text = write_out([report], kind)
    section = text[text.index("Author runs</h2>" if kind == "html" else "## Author runs") :]
    for words in ("our run", "author run", "92.10", "Last or best?", "by author runs, holds: KD helps"):
        assert words in section


def test_page_begins_with_our_headline_then_the_authors(report: Report) -> None:
    page = write_out([report], "html")
    top = page[page.index("<header") : page.index("</header>")]
    assert top.index("accuracies reproduced") < top.index(
        "Author runs, not trained by kdbench (4 runs of 2 rows)"
    )
    assert f'href="#authors-{report.suite.name}"' in top
    assert f'<section id="authors-{report.suite.name}"><h2>Author runs</h2>' in page


def test_every_format_is_written_with_author_runs(report: Report) -> None:
    assert all(write_out([report], kind) for kind in FORMATS)


def test_terminal_and_summary_name_author_runs_after_ours(report: Report) -> None:
    shown = terminal.table(judge(Selection(suites=(report.suite.path,))))
    assert shown.index("accuracies reproduced") < shown.index("Author runs, not trained by kdbench")
    assert "Author runs, not trained by kdbench (4 runs of 2 rows)" in summary([report])


def test_json_has_the_runs_beside_each_row_and_what_they_say(report: Report) -> None:
    (found,) = json.loads(write_out([report], "json"))["reports"]
    checks = {check["row"]["name"]: check for check in found["checks"]}
    assert checks[KD]["published"]["kind"] == "author run"
    assert checks[CNN]["published"] is None
    assert found["author_headline"].startswith("Author runs")
    assert found["last_or_best"]["rows"] == 2
    assert [claim["outcome"] for claim in found["author_claims"]] == ["holds"]


def test_csv_has_columns_of_other_evidence(report: Report) -> None:
    lines = {line["row"]: line for line in csv.DictReader(io.StringIO(write_out([report], "csv")))}
    assert lines[KD]["other evidence"] == "author run"
    assert (lines[KD]["other measured"], lines[KD]["other best"]) == ("92.1", "92.55")
    assert lines[CNN]["other evidence"] == ""


def test_page_holds_the_curves_of_author_runs(report: Report) -> None:
    page = write_out([report], "html")
    assert f'"author/{KD}/1":' in page
    assert f'data-authors="author/{KD}/1 author/{KD}/2"' in page


def test_plots_draw_author_runs_where_there_is_none_of_ours(report: Report) -> None:
    base = [check for check in report.checks if check.row.table == "1.base"]
    pictures = dict(draw(replace(report, checks=base), ["svg"]))
    forest = pictures["small.1.base.forest.svg"].decode()
    assert "author run 89.60" in forest
    assert "author runs (square)" in forest
    assert "dotted: author runs" in pictures["small.1.base.curves.svg"].decode()


def test_sentence_answers_last_or_best(report: Report) -> None:
    sentence = last_or_best_sentence(report.checks)
    assert "nearer to the best epoch on test in 1 of 2 rows, to the last in 1" in sentence
    assert last_or_best_sentence([check for check in report.checks if not check.published]) == ""


def test_sentence_on_a_single_row_has_no_interval_and_no_answer(report: Report) -> None:
    sentence = last_or_best_sentence([check for check in report.checks if check.row.name == KD])
    assert "nearer to the best epoch on test in 0 of 1 row, to the last in 1." in sentence
    assert sentence.endswith(". Printed minus last is -0.10, printed minus best -0.55.")


@pytest.mark.parametrize("words", [("--set", "epochs=2"), ("--smoke",)])
def test_rows_that_are_set_otherwise_are_not_beside_author_runs(
    report: Report, kdbench: Command, words: tuple[str, ...]
) -> None:
    assert report.authors
    assert "author run" not in kdbench("check", "suites/small", *words).out


def test_check_holds_author_runs_at_another_epoch(report: Report, kdbench: Command) -> None:
    assert report.authors
    checks = {check["row"]["name"]: check for check in kdbench("check", "suites/small", "--json").json}
    assert checks[KD]["published"]["values"] == {"1": 92.0, "2": 92.2}
    best = kdbench("check", "suites/small", "--report-epoch", "best", "--json").json
    assert {check["row"]["name"]: check for check in best}[KD]["published"]["values"] == {
        "1": 92.5,
        "2": 92.6,
    }


def test_a_broken_file_of_author_runs_is_one_clear_error(project: Path, kdbench: Command) -> None:
    store_curves(project, CURVES)
    path = project / "results/author_runs/small.json"
    path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    found = kdbench("check", "suites/small")
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "no valid file of author runs" in found.err


def test_claims_are_held_against_author_runs_apart(report: Report, kdbench: Command) -> None:
    assert report.authors
    shown = kdbench("claims", "suites/small")
    assert "by author runs, holds: KD helps (1)" in shown.out
    found = kdbench("claims", "suites/small", "--json").json
    assert found["suites/small.toml"][0]["outcome"] == "undecided"
    assert found["suites/small.toml, author runs"][0]["outcome"] == "holds"
