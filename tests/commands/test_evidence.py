"""compare, history and --shard on a throw-away project."""

import subprocess
from pathlib import Path
from shutil import copytree

import pytest

from kdbench.store.records import save_result
from tests.support.build import make_result
from tests.support.command import Command
from tests.support.project import AS_PRINTED, store

SMALL = "suites/small"
KD = "1.kd/digits_mlp:digits_cnn"


def git(folder: Path, *words: str) -> None:
    name = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def committed(stored: Path) -> Path:
    """The project, its results as printed and committed."""
    git(stored, "init", "-q")
    git(stored, "add", "results")
    git(stored, "commit", "-q", "-m", "as printed")
    return stored


def worsen(project: Path) -> None:
    """The results of one row, replaced by worse ones."""
    for path in (project / "results" / "digits").glob("digits_mlp-kd*"):
        path.unlink()
    store(project, project / "suites" / "small.toml", {KD: 85.0})


def test_compare_with_a_commit_finds_the_regression(kdbench: Command, committed: Path) -> None:
    worsen(committed)
    done = kdbench("compare", "HEAD", "results", SMALL)
    assert done.code == 1
    assert done.out.splitlines()[1].split()[:5] == [KD, "regression", "92.00", "85.00", "-7.00"]
    assert "results against HEAD, 3 rows: 1 regression, 2 same." in done.out


@pytest.mark.usefixtures("committed")
def test_compare_of_equals_is_well(kdbench: Command) -> None:
    done = kdbench("compare", "HEAD", "results", SMALL)
    assert (done.code, done.out.count(" same ")) == (0, 3)


def test_compare_with_printed_needs_no_git(kdbench: Command, stored: Path) -> None:
    worsen(stored)
    rows = kdbench("compare", "printed", "results", SMALL, "--json").json["rows"]
    assert [(row["row"], row["difference"]) for row in rows[:1]] == [(KD, -7.0)]


def test_compare_says_what_is_lost(kdbench: Command, committed: Path) -> None:
    for path in (committed / "results" / "digits").glob("digits_mlp-kd*"):
        path.unlink()
    done = kdbench("compare", "HEAD", "results", SMALL)
    assert (done.code, "missing in B" in done.out) == (1, True)


def test_issue_names_row_and_versions(kdbench: Command, committed: Path) -> None:
    worsen(committed)
    for path in sorted((committed / "results" / "digits").glob("digits_mlp-kd*")):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace('"environment": {}', '"environment": {"torch": "9.9"}'), encoding="utf-8"
        )
    text = kdbench("compare", "HEAD", "results", SMALL, "--issue").out
    assert text.startswith("# 1 of 3 rows regressed\n")
    assert "| torch | unknown | 9.9 |" in " ".join(text.split())


@pytest.mark.usefixtures("committed")
def test_issue_of_no_regression_is_empty(kdbench: Command) -> None:
    done = kdbench("compare", "HEAD", "results", SMALL, "--issue")
    assert (done.code, done.out) == (0, "")


@pytest.mark.parametrize("source", ["nowhere", "--help-me", "0000000", "HEAD:results"])
def test_source_that_is_none_is_one_error(kdbench: Command, committed: Path, source: str) -> None:
    assert committed.is_dir()
    done = kdbench("compare", "--", source, "results", SMALL)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "neither a folder of results nor a commit" in done.err


def test_commit_without_results_is_one_error(kdbench: Command, committed: Path) -> None:
    git(committed, "rm", "-rq", "--cached", "results")
    git(committed, "commit", "-q", "--allow-empty", "-m", "none")
    done = kdbench("compare", "HEAD", "results", SMALL)
    assert (done.code, "HEAD: this commit has no folder results" in done.err) == (2, True)


def test_broken_record_of_a_commit_is_named_there(kdbench: Command, committed: Path) -> None:
    path = next((committed / "results" / "digits").glob("digits_mlp-kd*"))
    path.write_text("{}", encoding="utf-8")
    git(committed, "commit", "-qam", "broken")
    done = kdbench("compare", "HEAD", "printed", SMALL)
    assert (done.code, f"HEAD:results/digits/{path.name}: no valid result" in done.out) == (1, True)
    assert (done.out.count(" unreadable "), done.out.count(" same ")) == (1, 2)


def test_history_marks_the_change(kdbench: Command, stored: Path) -> None:
    runs = store(stored, stored / "suites" / "small.toml", {})
    assert runs == []
    done = kdbench("history", f"{SMALL}/{KD}")
    assert (done.code, done.out.splitlines()[0]) == (0, f"{SMALL}/{KD}  ▁")
    assert "92.00" in done.out


def test_history_counts_repeats(kdbench: Command, project: Path) -> None:
    run = store(project, project / "suites" / "small.toml", {"1.base/digits_mlp": 90.0})[0]
    save_result(project / "results", make_result(run, 80.0, 80.0, 80.0))
    point = kdbench("history", f"{SMALL}/1.base/digits_mlp", "--json").json[0]["point"]
    assert point["values"] == {"0": 85.0, "1": 90.0}


def test_history_of_a_suite_has_each_row_and_other_folders(kdbench: Command, stored: Path) -> None:
    copytree(stored / "results", stored / "last")
    done = kdbench("history", SMALL, "last", "--seeds", "0", "--json").json
    assert [name.removeprefix(f"{SMALL}/") for name in done] == ["1.base/digits_mlp", "1.base/digits_cnn", KD]
    assert [len(points) for points in done.values()] == [1, 1, 1]


def test_history_of_nothing_says_so(kdbench: Command) -> None:
    assert kdbench("history", f"{SMALL}/{KD}").out == f"{SMALL}/{KD}: not trained yet\n"


def test_parts_are_all_rows_once(kdbench: Command) -> None:
    parts = [kdbench("list", "rows", SMALL, "--shard", f"{k}/2", "--json").json for k in (1, 2)]
    assert sorted(row["name"] for rows in parts for row in rows) == sorted(AS_PRINTED)
    assert [len(rows) for rows in parts] == [2, 1]


def test_part_stands_in_the_reports_command(kdbench: Command) -> None:
    assert "kdbench run suites/small --shard 2/3" in kdbench("report", SMALL, "--shard", "2/3").out
