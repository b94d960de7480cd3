"""kdbench/importing/logs_files.py: every format, whole and broken."""

import sys
from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.importing.logs_files import Columns, Point, Stretch, read_log
from tests.support.logs import DASHES, worklog, write, write_events


def points(stretch: Stretch) -> list[tuple[int, float]]:
    return [(point.epoch, point.top1) for point in stretch.points]


def test_worklog_of_two_appended_runs_is_two_stretches_with_their_best(tmp_path: Path) -> None:
    one, two = read_log(write(tmp_path, "worklog.txt", worklog([50, 71.37], [52, 70])), Columns())
    assert points(one) == [(1, 50), (2, 71.37)]
    assert points(two) == [(1, 52), (2, 70)]
    assert (one.best, two.best) == (71.37, 70)
    assert one.finished
    assert two.finished


def test_worklog_without_best_acc_is_not_finished(tmp_path: Path) -> None:
    (only,) = read_log(write(tmp_path, "worklog.txt", worklog([50, 60], ended=False)), Columns())
    assert only.finished is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{DASHES}epoch: 1\ntest_acc: 50\n", "line 3: ends within a block: the log was cut off"),
        (f"{DASHES}epoch: 1\nmAP: 50\n{DASHES}", "line 4: this block has no 'test_acc'"),
        (f"{DASHES}epoch: 1\ntest_acc: nan\n{DASHES}", "'nan' is no accuracy"),
        (f"{DASHES}epoch: one\ntest_acc: 5\n{DASHES}", "'one' is no epoch"),
        ("Traceback\n", "line 1: 'Traceback' is no `key: value`"),
        (
            f"{DASHES}epoch: 1\nlr:",
            "line 3: 'lr:' is no `key: value` of a worklog: its last line; was the log cut off",
        ),
        ("", "holds no epoch and no run"),
    ],
)
def test_worklog_that_is_broken(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, "worklog.txt", text)
    with pytest.raises(UserError, match=message) as error:
        read_log(path, Columns())
    assert len(error.value.problems) == 1
    assert str(path) in str(error.value)


def test_timm_summary_skips_a_repeated_head_and_epochs_without_evaluation(tmp_path: Path) -> None:
    text = "epoch,train_loss,eval_top1\n0,2.0,50.5\n1,1.9,\nepoch,train_loss,eval_top1\n2,1.8,60.5\n"
    stretches = read_log(write(tmp_path, "summary.csv", text), Columns())
    assert [point for each in stretches for point in each.points] == [Point(0, 50.5), Point(2, 60.5)]
    assert stretches[0].cells["train_loss"] == "2.0"


def test_csv_with_a_line_per_run_has_values(tmp_path: Path) -> None:
    text = "repetition,top1_last,top1_best\n0,51.5,52\n1,49.9,50\n"
    found = read_log(write(tmp_path, "runs.csv", text), Columns(last="top1_last", best="top1_best"))
    assert [(each.last, each.best, each.value) for each in found] == [(51.5, 52, None), (49.9, 50, None)]


def test_csv_with_a_curve_in_a_cell_is_cut_into_runs_of_so_many_epochs(tmp_path: Path) -> None:
    text = "name,epochs,curve,best\na,2,1.5 2.5 3.5 4.5,4.5\nb,2,5.5 6.5,6.5\n"
    columns = Columns(top1="curve", epochs="epochs", best="best")
    found = read_log(write(tmp_path, "curves.csv", text), columns)
    assert [points(each) for each in found] == [
        [(1, 1.5), (2, 2.5)],
        [(1, 3.5), (2, 4.5)],
        [(1, 5.5), (2, 6.5)],
    ]
    assert [each.best for each in found] == [None, None, 6.5]


def test_json_lines_with_an_object_per_epoch(tmp_path: Path) -> None:
    text = '{"epoch": 1, "test_acc": 50.5}\n\n{"epoch": 2, "test_acc": 60.5, "lr": 0.1}\n'
    found = read_log(write(tmp_path, "log.jsonl", text), Columns())
    assert [points(each) for each in found] == [[(1, 50.5)], [(2, 60.5)]]


def test_json_lines_with_a_list_is_a_curve(tmp_path: Path) -> None:
    (only,) = read_log(write(tmp_path, "log.jsonl", '{"accuracy": [1.5, 2.5]}\n'), Columns(top1="accuracy"))
    assert points(only) == [(1, 1.5), (2, 2.5)]


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        (
            "a.csv",
            "epoch,loss\n1,2\n",
            Columns(),
            "which column has the test accuracy.*there are: epoch, loss",
        ),
        ("a.csv", "epoch,top1\n1,2\n", Columns(top1="top2"), "--top1 'top2': unknown column .*'top1'"),
        ("a.csv", "epoch,top1\n1,2\n", Columns(epochs="x"), "--epochs 'x': unknown column"),
        ("a.csv", "epoch,top1\n1\n", Columns(), "line 2: not the 2 cells of its first line"),
        (
            "a.csv",
            "curve,n\n1 2 3,2\n",
            Columns(top1="curve", epochs="n"),
            "3 accuracies are no whole number",
        ),
        ("a.csv", "", Columns(), "a.csv: holds no epoch and no run"),
        ("a.jsonl", "[1]\n", Columns(), "line 1: no JSON object"),
        ("a.xlsx", "", Columns(), "no known kind of log; add --format"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, name: str, text: str, columns: Columns, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_log(write(tmp_path, name, text), columns)


def test_a_log_that_is_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        read_log(tmp_path / "worklog.txt", Columns())
    (tmp_path / "worklog.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text"):
        read_log(tmp_path / "worklog.txt", Columns())


def test_event_files_keep_the_steps_before_a_restart(tmp_path: Path) -> None:
    write_events(tmp_path, (1, 50.0), (2, 71.37), (1, 51.0), (2, 72.0))
    (file,) = tmp_path.iterdir()
    (only,) = read_log(file, Columns())
    assert points(only) == [(1, 50.0), (2, 71.37), (1, 51.0), (2, 72.0)]
    with pytest.raises(UserError, match="--top1 'acc2': unknown column 'acc2'"):
        read_log(file, Columns(top1="acc2"))
    with pytest.raises(UserError, match="no scalars: it is no event file"):
        read_log(write(tmp_path, "events.out.tfevents.9", "x"), Columns())


def test_event_files_without_tensorboard_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(UserError, match=r"pip install 'kdbench\[tensorboard\]'"):
        read_log(write(tmp_path, "events.out.tfevents.1", "x"), Columns())
