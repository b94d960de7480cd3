"""`kdbench report` and `plot` on a throw-away project: formats, links, what contradicts itself."""

import json
from pathlib import Path

import pytest

from kdbench.report import html
from kdbench.report.gather import page_of_job
from tests.support.command import Command, Outcome


def line_of_bad_input(done: Outcome) -> str:
    """What a command said of its bad input."""
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    return done.err.removeprefix("error: ")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("r.md", "# A paper"),
        ("r", "# A paper"),
        ("r.html", "<!doctype html>"),
        ("r.json", "{\n"),
        ("r.csv", "suite,data set,"),
        ("r.tex", "% The preamble"),
        ("r.xml", "<?xml"),
        ("r.svg", "<svg "),
    ],
)
def test_report_has_the_format_of_its_suffix(kdbench: Command, project: Path, name: str, start: str) -> None:
    assert kdbench("report", "suites/small", "-o", name).code == 0
    assert (project / name).read_text(encoding="utf-8").startswith(start)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["report", "suites/small"], "# A paper"),
        (["report", "suites/small", "--format", "html"], "<!doctype html>"),
        (["report", "suites/small", "--summary"], "A paper, digits: 3 of 3"),
        (["overview"], "# "),
        (["methods", "suites/small"], "suite s"),
        (["methods", "suites/small", "--format", "json"], "{"),
    ],
)
def test_dash_as_output_is_standard_output(
    kdbench: Command, project: Path, words: list[str], start: str
) -> None:
    done = kdbench(*words, "-o", "-")
    assert (done.code, done.out.lstrip()[: len(start)]) == (0, start)
    assert done.out == kdbench(*words).out
    assert not (project / "-").exists()


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("kind", ["markdown", "csv", "json", "latex", "junit", "badge"])
def test_printed_report_is_that_of_a_file(kdbench: Command, project: Path, kind: str) -> None:
    assert kdbench("report", "suites/small", "--format", kind, "-o", "r").code == 0
    printed = kdbench("report", "suites/small", "--format", kind).out
    text = (project / "r").read_bytes().decode("utf-8")
    assert printed == (text if text.endswith("\n") else f"{text}\n")


@pytest.mark.usefixtures("stored")
def test_file_that_is_called_dash_is_named_with_its_folder(kdbench: Command, project: Path) -> None:
    assert kdbench("report", "suites/small", "-o", "./-").out == ""
    assert (project / "-").read_text(encoding="utf-8").startswith("# A paper")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("words", [["site"], ["plot", "suites/small"], ["bundle", "suites/small"]])
def test_dash_as_output_is_refused_where_no_text_is_written(
    kdbench: Command, project: Path, words: list[str]
) -> None:
    done = kdbench(*words, "-o", "-")
    assert (done.code, done.out) == (2, "")
    assert "- is standard output, and a" in done.err
    assert not (project / "-").exists()


@pytest.mark.usefixtures("stored")
def test_folder_of_a_large_page_goes_when_the_page_is_small_again(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = ("report", "suites/small", "-o", "r.html"), html.ONE_FILE
    folder = project / "r.files"
    for kept in ([], ["mine.txt"]):
        monkeypatch.setattr(html, "ONE_FILE", 0)
        assert kdbench(*large).code == 0
        assert sorted(path.name for path in folder.iterdir()) == [".kdbench-site", "0.js"]
        for name in kept:
            (folder / name).touch()
        monkeypatch.setattr(html, "ONE_FILE", small)
        assert kdbench(*large).code == 0
        there = [path.name for path in folder.iterdir()] if folder.exists() else []
        assert (there, folder.exists()) == (kept, bool(kept))


@pytest.mark.usefixtures("stored")
def test_folder_that_kdbench_did_not_write_stays_beside_a_page(kdbench: Command, project: Path) -> None:
    (project / "r.files").mkdir()
    (project / "r.files" / "0.js").touch()
    assert kdbench("report", "suites/small", "-o", "r.html").code == 0
    assert (project / "r.files" / "0.js").exists()


@pytest.mark.usefixtures("stored")
def test_format_outweighs_the_suffix(kdbench: Command, project: Path) -> None:
    assert kdbench("report", "suites/small", "--format", "shields", "-o", "r.md").code == 0
    assert json.loads((project / "r.md").read_text(encoding="utf-8"))["message"] == "3 of 3 reproduced"


def test_report_of_an_unknown_suffix_is_refused_before_anything_is_read(kdbench: Command) -> None:
    line = line_of_bad_input(kdbench("report", "nowhere", "-o", "report.pdf"))
    assert line.startswith("report.pdf: no format has the suffix .pdf; end the name in one of .md (markdown)")


@pytest.mark.parametrize(
    "words",
    [
        ["--format", "pdf"],
        ["--summary", "--format", "html"],
        ["--update", "a", "-o", "b"],
        ["--with-ages", "-o", "a.html"],
    ],
)
def test_report_of_contradicting_options_is_bad_usage(
    kdbench: Command, project: Path, words: list[str]
) -> None:
    (project / "a").touch()
    done = kdbench("report", "suites/small", *words)
    assert (done.code, done.out, done.err.startswith("error: ")) == (2, "", True)


def test_report_links_to_the_records_from_where_it_lies(kdbench: Command, stored: Path) -> None:
    kdbench("report", "suites/small", "-o", "a/b/report.json")
    told = json.loads((stored / "a" / "b" / "report.json").read_text(encoding="utf-8"))
    records = told["reports"][0]["records"].values()
    assert [(stored / "a" / "b" / record).is_file() for record in records] == [True] * 6


@pytest.mark.usefixtures("stored")
def test_summary_in_ci_goes_to_a_file_of_any_suffix(kdbench: Command, project: Path) -> None:
    assert kdbench("report", "suites/small", "--summary", "-o", "step.summary").code == 0
    assert (project / "step.summary").read_text(encoding="utf-8").startswith("A paper, digits: 3 of 3")


def test_page_of_the_ci_job_is_known_from_its_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SERVER_URL", "https://g"), ("REPOSITORY", "a/b"), ("RUN_ID", "7")):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    assert page_of_job() == "https://g/a/b/actions/runs/7"
    monkeypatch.delenv("GITHUB_RUN_ID")
    assert page_of_job() == ""


@pytest.mark.usefixtures("stored")
def test_plot_writes_pictures_and_says_where(kdbench: Command, project: Path) -> None:
    done = kdbench("plot", "suites/small", "--rows", "1.base/digits_mlp", "--format", "svg", "-o", "pictures")
    written = ["pictures/small.1.base.forest.svg", "pictures/small.1.base.curves.svg"]
    assert done.out.splitlines() == written
    assert sorted(str(path.relative_to(project)) for path in project.glob("pictures/*")) == sorted(written)


def test_plot_of_nothing_is_told(kdbench: Command) -> None:
    line = line_of_bad_input(kdbench("plot", "suites/small"))
    assert line.startswith("suites/small.toml: none of these rows has a result yet")


def test_update_keeps_the_line_endings_of_the_text(kdbench: Command, stored: Path) -> None:
    page = stored / "page.md"
    page.write_bytes(b"before\r\n<!-- kdbench: begin -->\r\n<!-- kdbench: end -->\r\nafter\r\n")
    assert kdbench("report", "suites/small", "--update", "page.md").code == 0
    written = page.read_bytes()
    assert written.startswith(b"before\r\n<!-- kdbench: begin -->\r\n")
    assert written.endswith(b"<!-- kdbench: end -->\r\nafter\r\n")
    assert written.count(b"\n") == written.count(b"\r\n") > 5


def test_update_of_a_text_that_is_not_utf8_is_one_error(kdbench: Command, stored: Path) -> None:
    (stored / "latin.md").write_bytes(b"\xff\xfe")
    done = kdbench("report", "suites/small", "--update", "latin.md")
    assert (done.code, "latin.md: not UTF-8 text" in done.err) == (2, True)
    assert (stored / "latin.md").read_bytes() == b"\xff\xfe"
