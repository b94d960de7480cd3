"""kdbench/importing/logs.py: logs -> author runs of rows."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.importing.logs import ImportedLogs, LogRequest, import_logs
from kdbench.importing.logs_files import Columns
from kdbench.spec.author_runs import AuthorRun, AuthorRuns
from kdbench.spec.suites import Suite
from kdbench.suite.load import load_suite
from tests.support.command import Command
from tests.support.logs import worklog, write, write_events
from tests.support.project import write_suite
from tests.support.refused import problems_of

CURVE = [50.0, 91.0, 90.5]
TABLE = "size,repetition,lambda,top1\nmlp,0,0.10,90.5\nmlp,1,0.10,91.5\ncnn,0,0.10,94.5\n"


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return load_suite(write_suite(tmp_path))


def imported(suite: Suite, *files: Path, row: str = "1.base/digits_mlp", **asked: object) -> ImportedLogs:
    request = replace(LogRequest(files=files, row=row), **asked)
    return import_logs(request, suite, AuthorRuns(suite=suite.name))


def runs(found: ImportedLogs) -> list[tuple[str, int, float | None]]:
    return [(run.row, run.run, run.last if run.value is None else run.value) for run in found.runs.runs]


def test_two_runs_in_one_worklog_are_counted_and_noted(tmp_path: Path, suite: Suite) -> None:
    found = imported(suite, write(tmp_path, "worklog.txt", worklog(CURVE, [40, 50, 92])))
    assert runs(found) == [("1.base/digits_mlp", 1, 90.5), ("1.base/digits_mlp", 2, 92)]
    assert found.runs.runs[0].top1 == tuple(CURVE)
    assert any("2 runs of 1.base/digits_mlp in one place" in note for note in found.notes)


def test_several_files_go_on_counting_and_a_file_read_again_replaces_itself(
    tmp_path: Path, suite: Suite
) -> None:
    one = write(tmp_path, "1.txt", worklog(CURVE))
    two = write(tmp_path, "2.txt", worklog([40, 50, 92]))
    first = imported(suite, one, two)
    assert [number for _, number, _ in runs(first)] == [1, 2]
    again = import_logs(LogRequest(files=(two,), row="1.base/digits_mlp"), suite, first.runs)
    assert again.runs == first.runs


def test_source_is_kept_with_its_digest_and_place(tmp_path: Path, suite: Suite) -> None:
    file = write(tmp_path, "worklog.txt", worklog(CURVE))
    found = imported(suite, file, repository="github.com/a/b", commit="c0ffee", path="logs/")
    (published,) = found.runs.published
    assert str(published.source) == "github.com/a/b@c0ffee:logs/worklog.txt"
    assert len(published.source.sha256) == 64


def test_a_table_of_values_names_rows_by_its_cells(tmp_path: Path, suite: Suite) -> None:
    found = imported(suite, write(tmp_path, "runs.csv", TABLE), row="1.BASE/digits_{size}", run="repetition")
    assert runs(found) == [
        ("1.base/digits_mlp", 0, 90.5),
        ("1.base/digits_mlp", 1, 91.5),
        ("1.base/digits_cnn", 0, 94.5),
    ]


def test_cells_are_renamed_and_numbers_written_short(tmp_path: Path, suite: Suite) -> None:
    text = "net,x,top1\nMLP-1,1.0,90.5\n"
    found = imported(
        suite, write(tmp_path, "runs.csv", text), row="{x:g}.base/digits_{net}", renames={"MLP-1": "mlp"}
    )
    assert runs(found) == [("1.base/digits_mlp", 1, 90.5)]


def test_equal_lines_of_one_run_are_kept_once(tmp_path: Path, suite: Suite) -> None:
    text = "repetition,other,teacher_top1\n0,1,81\n0,2,81\n1,1,82\n"
    columns = Columns(top1="teacher_top1")
    found = imported(suite, write(tmp_path, "runs.csv", text), columns=columns, run="repetition")
    assert runs(found) == [("1.base/digits_mlp", 0, 81), ("1.base/digits_mlp", 1, 82)]
    assert any("1 line repeat" in note for note in found.notes)


def test_two_columns_of_one_table_are_read_one_after_the_other(tmp_path: Path, suite: Suite) -> None:
    file = write(tmp_path, "runs.csv", "repetition,student,teacher\n0,90.5,95.5\n1,91.5,96.5\n")
    first = imported(suite, file, columns=Columns(top1="student"), run="repetition")
    request = LogRequest(
        files=(file,), row="1.base/digits_cnn", columns=Columns(top1="teacher"), run="repetition"
    )
    second = import_logs(request, suite, first.runs)
    assert len(second.runs.published) == 1
    assert runs(second) == [
        ("1.base/digits_mlp", 0, 90.5),
        ("1.base/digits_mlp", 1, 91.5),
        ("1.base/digits_cnn", 0, 95.5),
        ("1.base/digits_cnn", 1, 96.5),
    ]
    assert import_logs(request, suite, second.runs).runs == second.runs


def test_lines_per_epoch_of_several_runs_are_joined(tmp_path: Path, suite: Suite) -> None:
    text = "seed,epoch,top1\n" + "".join(
        f"{seed},{epoch},{80 + epoch + seed}\n" for epoch in (1, 2, 3) for seed in (0, 1)
    )
    found = imported(suite, write(tmp_path, "log.csv", text), run="seed")
    assert [run.top1 for run in found.runs.runs] == [(81, 82, 83), (82, 83, 84)]


def test_a_folder_of_event_files_is_one_log(tmp_path: Path, suite: Suite) -> None:
    """A training that was started again has two files: what it did again replaces what was before."""
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    with pytest.raises(UserError, match="a folder without event files"):
        imported(suite, folder)
    write_events(folder, (1, 50.0), (2, 91.0), suffix=".1")
    (file,) = folder.iterdir()
    one = imported(suite, folder, unfinished=True)
    assert one.read[0].source.sha256 == imported(suite, file, unfinished=True).read[0].source.sha256
    write_events(folder, (2, 92.0), (3, 90.5), suffix=".2")
    found = imported(suite, folder)
    assert [run.top1 for run in found.runs.runs] == [(50.0, 92.0, 90.5)]
    assert "restarted at epoch 2 after epoch 2" in found.notes[0]
    assert found.read[0].source.file == "tensorboard"
    assert found.read[0].source.sha256 != one.read[0].source.sha256


def test_an_aborted_start_is_left_out_and_noted(tmp_path: Path, suite: Suite) -> None:
    file = write(tmp_path, "worklog.txt", worklog([40, 50], ended=False) + worklog(CURVE))
    found = imported(suite, file)
    assert runs(found) == [("1.base/digits_mlp", 1, 90.5)]
    assert any("left out, a run that ends at epoch 2" in note for note in found.notes)
    assert len(imported(suite, file, unfinished=True).runs.runs) == 2


def test_a_longer_log_than_the_row_trains_is_kept_whole(tmp_path: Path, suite: Suite) -> None:
    found = imported(suite, write(tmp_path, "worklog.txt", worklog([*CURVE, 93])))
    assert [run.last_epoch for run in found.runs.runs] == [4]


@pytest.mark.parametrize(
    ("name", "text", "asked", "message"),
    [
        ("worklog.txt", worklog(CURVE, ended=False), {}, "the log ends at epoch 3 of 3: it was cut off"),
        ("worklog.txt", worklog([40, 50]), {}, "the log ends at epoch 2 of 3: it was cut off"),
        ("worklog.txt", worklog(CURVE), {"row": "9/x"}, "has no such row. unknown row '9/x'"),
        ("worklog.txt", worklog(CURVE), {"row": "*"}, "'\\*' means 3 rows"),
        ("runs.csv", TABLE, {"row": "{net}"}, "unknown column 'net'"),
        ("runs.csv", TABLE, {"row": "1.base/digits_{size}", "run": "seed"}, "--run 'seed': unknown column"),
        ("runs.csv", TABLE, {"row": "{size:g}"}, "could not convert string to float"),
        (
            "runs.csv",
            TABLE,
            {"row": "1.base/digits_mlp", "run": "repetition"},
            "run 0 stands twice, with different values",
        ),
        ("runs.csv", TABLE, {"row": "1.base/digits_{size}", "run": "lambda"}, "'0.10' is no number of a run"),
    ],
)
def test_logs_that_fit_no_row(
    tmp_path: Path, suite: Suite, name: str, text: str, asked: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        imported(suite, write(tmp_path, name, text), **asked)
    assert len(error.value.problems) == 1


def test_the_mistakes_of_all_files_come_at_once(tmp_path: Path, suite: Suite) -> None:
    broken = [write(tmp_path, f"{name}.txt", worklog([50])) for name in "ab"]
    assert len(problems_of(imported, suite, *broken)) == 2


def test_a_run_that_another_file_gave_is_refused(tmp_path: Path, suite: Suite) -> None:
    first = imported(suite, write(tmp_path, "a.csv", TABLE), row="1.base/digits_{size}", run="repetition")
    changed = write(tmp_path, "b.csv", TABLE.replace("90.5", "90.6"))
    request = LogRequest(files=(changed,), row="1.base/digits_{size}", run="repetition")
    with pytest.raises(UserError, match="run 0 is stored already, from a"):
        import_logs(request, suite, first.runs)


WORDS = ("import", "log", "worklog.txt", "--suite", "suites/small", "--row", "1.base/digits_mlp")


def test_command_stores_what_dry_run_only_shows(project: Path, kdbench: Command) -> None:
    write(project, "worklog.txt", worklog(CURVE))
    file = project / "results/author_runs/small.json"
    shown = kdbench(*WORDS, "--dry-run")
    assert shown.code == 0
    assert f"would be kept in {file}" in shown.out
    assert not file.exists()
    stored = kdbench(*WORDS)
    assert stored.code == 0
    assert "1 author run of 1 row from 1 file, kept in" in stored.out
    assert file.exists()


def test_command_refuses_a_log_in_one_line(project: Path, kdbench: Command) -> None:
    write(project, "worklog.txt", "nothing\n")
    found = kdbench(*WORDS)
    assert found.code == 2
    assert found.err.count("\n") == 1
    assert kdbench(*WORDS, "--rename", "x").code == 2


def test_import_of_a_file_still_means_weights(project: Path, kdbench: Command) -> None:
    found = kdbench("import", str(project / "none.pt"), "--model", "digits_mlp", "--dataset", "digits")
    assert found.code == 2
    assert "none.pt: there is no such file" in found.err


def test_author_run_knows_its_table() -> None:
    assert AuthorRun(row="1.base/digits_mlp", run=1, value=1.0).table == "1.base"
