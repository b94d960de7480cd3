"""kdbench/store/author_runs.py: written, read and refused."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.spec.author_runs import AuthorRun, AuthorRuns, LogSource, PublishedRuns
from kdbench.store.author_runs import author_runs_file, load_author_runs, save_author_runs

SOURCE = LogSource(
    file="worklog.txt",
    sha256="0" * 64,
    repository="github.com/a/b",
    commit="f6e5aa5172bad618e801163c3385322eea673754",
    path="logs/worklog.txt",
)
CURVE = AuthorRun(row="1/mlp", run=1, top1=(50.0, 60.5, 60.0), last=60.0, best=60.5)
GAPS = AuthorRun(row="1/mlp", run=2, top1=(50.0, 61.0), epochs=(1, 3), last=61.0, best=61.0)
VALUE = AuthorRun(row="2/mlp", run=1, value=51.5)


def author_runs(*runs: AuthorRun) -> AuthorRuns:
    return AuthorRuns(suite="small", published=(PublishedRuns(source=SOURCE, runs=runs),))


def test_author_runs_come_back_as_they_were_one_on_a_line(tmp_path: Path) -> None:
    path = save_author_runs(tmp_path, author_runs(CURVE, GAPS, VALUE))
    assert path == author_runs_file(tmp_path, "small")
    assert load_author_runs(tmp_path, "small") == author_runs(CURVE, GAPS, VALUE)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    assert '"kind":"author run"' in lines[0]
    assert not list(path.parent.glob("*.part"))


def test_a_suite_without_author_runs_has_none(tmp_path: Path) -> None:
    assert load_author_runs(tmp_path, "small").runs == ()


def test_at_reads_an_epoch_the_last_and_the_best() -> None:
    assert (CURVE.at("last"), CURVE.at("best"), CURVE.at(2), CURVE.at(4)) == (60.0, 60.5, 60.5, None)
    assert (GAPS.at(3), GAPS.at(2), GAPS.last_epoch) == (61.0, None, 3)
    assert (VALUE.at("last"), VALUE.at(1), VALUE.last_epoch) == (None, None, 0)


def test_a_source_is_named_by_its_repository() -> None:
    assert str(SOURCE) == "github.com/a/b@f6e5aa5172ba:logs/worklog.txt"
    assert str(LogSource(file="runs.csv", sha256="0" * 64)) == "runs.csv"


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ((CURVE, CURVE), "1/mlp, run 1: stands 2 times"),
        ((replace(CURVE, best=70.0),), "last 60.0 and best 70.0 are not those of its curve"),
        ((replace(GAPS, epochs=(1,)),), "2 accuracies for 1 epochs"),
        ((replace(GAPS, epochs=(3, 1)),), "its epochs do not rise"),
        ((replace(VALUE, value=None),), "no accuracy at all"),
    ],
)
def test_author_runs_that_contradict_themselves(
    tmp_path: Path, runs: tuple[AuthorRun, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        save_author_runs(tmp_path, author_runs(*runs))
    path = author_runs_file(tmp_path, "small")
    path.parent.mkdir()
    path.write_bytes(msgspec.json.encode(author_runs(*runs)))
    with pytest.raises(UserError, match=message):
        load_author_runs(tmp_path, "small")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema":1', '"schema":2', "author runs of schema 2, this is 1; update kdbench|schema 2; valid: 1"),
        ('"suite":"small"', '"suite":"large"', "author runs of suite 'large'"),
        ('"author run"', '"result"', "no valid file of author runs"),
        ('"value":51.5', '"value":151.5', "no valid file of author runs"),
        ("]}]}", "", "no valid file of author runs"),
    ],
)
def test_a_file_that_was_changed(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = save_author_runs(tmp_path, author_runs(CURVE, VALUE))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        load_author_runs(tmp_path, "small")
    assert str(path) in str(error.value)
