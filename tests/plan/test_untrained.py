"""Rows that kdbench cannot train: named as printed, listed, skipped and said so, never refused."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.plan.lookup import find_row, find_trained_row
from kdbench.suite.lint import lint_suite
from kdbench.suite.load import load_suite
from kdbench.verdict.check import check_suite
from tests.support.command import Command
from tests.support.project import cells, change, write_suite

TABLE = """
[[table]]
id = "1.crd"
untrained = "no loss nocrd yet"
loss = { name = "nocrd", beta = 0.8 }
rows = [
  { student = "nonet4", teacher = "nonet32", top1 = 75.51, gain = 3.01 },
  { student = "digits_mlp", teacher = "digits_cnn", top1 = 93.0 },
]

[[table]]
id = "1.kd2"
loss = { name = "kd", alpha = 0.9, tau = 4 }
rows = [
  { student = "nonet8", teacher = "nonet13", top1 = 72.98, untrained = "no network nonet8 yet" },
]
"""
EDIT = ("[[delta]]", f"{TABLE.strip()}\n\n[[delta]]")


def test_untrained_rows_have_no_runs_and_others_keep_theirs(tmp_path: Path) -> None:
    before = {cell.row.name: cell.ids for cell in cells(tmp_path)}
    after = {cell.row.name: cell.ids for cell in cells(tmp_path, EDIT)}
    assert {name: ids for name, ids in after.items() if ids} == before
    assert [name for name, ids in after.items() if not ids] == [
        "1.crd/nonet4:nonet32",
        "1.crd/digits_mlp:digits_cnn",
        "1.kd2/nonet8:nonet13",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('untrained = "no loss nocrd yet"\n', "", "unknown loss 'nocrd'"),
        (', untrained = "no network nonet8 yet"', "", "unknown model 'nonet8'"),
        ("beta = 0.8", 'beta = 0.8, name2 = "x"', "a parameter of a loss is a finite number"),
        ("top1 = 72.98", "top1 = 172.98", "172.98"),
        ("top1 = 72.98", "top1 = 72.98, recipe = { milestones = [1] }", "milestones without gamma"),
    ],
)
def test_names_that_the_catalog_lacks_are_allowed_there_only(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_suite(tmp_path, change(EDIT, (old, new)))
    with pytest.raises(UserError, match=message):
        load_suite(path)


def test_an_untrained_baseline_teaches_nobody(tmp_path: Path) -> None:
    cnn = '{ student = "digits_cnn", top1 = 95.0'
    path = write_suite(tmp_path, change((cnn, f'{cnn}, untrained = "why not"')))
    with pytest.raises(UserError, match="no row trains the teacher 'digits_cnn'"):
        load_suite(path)


def test_untrained_rows_are_pending_with_the_reason_and_share_no_runs(tmp_path: Path) -> None:
    checks = {check.row.name: check for check in check_suite(cells(tmp_path, EDIT), {})}
    check = checks["1.crd/nonet4:nonet32"]
    assert (check.top1.word, check.gain.word) == ("pending", "pending")
    assert check.top1.reason == "kdbench cannot train it: no loss nocrd yet"
    assert check.same_as == ()


def test_settings_fit_the_rows_that_are_trained(tmp_path: Path) -> None:
    found = {cell.row.name: cell.row for cell in cells(tmp_path, EDIT, settings={"tau": 8})}
    assert found["1.kd/digits_mlp:digits_cnn"].loss.params["tau"] == 8
    assert found["1.kd2/nonet8:nonet13"].reference.top1 is None


def test_an_untrained_row_is_found_but_not_where_a_run_is_needed(tmp_path: Path) -> None:
    write_suite(tmp_path, change(EDIT))
    address = f"{tmp_path}/suites/small/1.kd2/nonet8:nonet13"
    assert find_row(address, "released")[1].runs == ()
    with pytest.raises(UserError, match="has no run: kdbench cannot train it: no network nonet8 yet"):
        find_trained_row(address, "released")


def test_lint_lists_untrained_rows_once_for_each_reason(tmp_path: Path) -> None:
    findings = lint_suite(load_suite(write_suite(tmp_path, change(EDIT))))
    found = [finding for finding in findings if finding.rule == "untrained"]
    assert [finding.level for finding in found] == ["info", "info"]
    assert [finding.sentence for finding in found] == [
        "2 rows of 1.crd: untrained: no loss nocrd yet",
        "nonet8 from nonet13, kd, Table 1: untrained: no network nonet8 yet",
    ]


def test_lint_warns_where_a_table_mixes_protocols(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path))
    assert not [finding for finding in lint_suite(suite) if finding.rule == "protocol-differs"]
    longer = replace(suite.rows[-1], recipe=replace(suite.rows[-1].recipe, epochs=6))
    (found,) = [
        finding
        for finding in lint_suite(replace(suite, rows=(*suite.rows[:-1], longer)))
        if finding.rule == "protocol-differs"
    ]
    assert found.level == "warning"
    assert found.sentence == "Table 1 mixes protocols: 3 epochs, but 6 epochs: 1.kd"


def test_commands_say_in_a_line_what_is_skipped(project: Path, kdbench: Command) -> None:
    write_suite(project, change(EDIT))
    plan = kdbench("run", "suites/small", "--dry-run")
    assert plan.code == 0
    assert "3 rows skipped, not to be trained: no loss nocrd yet; no network nonet8 yet" in (
        plan.out + plan.err
    )
    shown = kdbench("show", "small/1.crd/nonet4:nonet32")
    assert shown.code == 0
    assert "none: kdbench cannot train it: no loss nocrd yet" in shown.out
    listed = kdbench("list", "rows", "suites/small")
    assert "crd" in listed.out
    assert kdbench("check", "suites/small").code == 0
