"""Damaged records: what commands say of them, and that they stop nothing else."""

from pathlib import Path

import pytest

from kdbench.report.formats import FORMATS
from tests.support.command import Command
from tests.support.project import fail_teacher

KD = "1.kd/digits_mlp:digits_cnn"
BASE = "1.base/digits_mlp"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no valid result: Input data was truncated; move it away to train the run again"),
        ("", "no valid result: Input data was truncated"),
        ("<<<<<<< HEAD\n", "git's conflict markers; choose a side with `git checkout --ours` or `--theirs`"),
        ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; `git lfs pull` fetches"),
        ('{"schema": 9}', "result of schema 9, which is newer; update kdbench"),
    ],
    ids=["cut", "empty", "conflict", "pointer", "newer"],
)
def test_damaged_result_makes_its_row_unreadable_and_leaves_the_others(
    kdbench: Command, stored: Path, content: str, reason: str
) -> None:
    damaged = min((stored / "results" / "digits").glob("digits_mlp-ce.s0.*.json"))
    damaged.write_text(content, encoding="utf-8")
    checked = kdbench("check", "suites/small", "--json")
    words = {check["row"]["name"]: check["top1"]["word"] for check in checked.json}
    assert (checked.code, words) == (
        1,
        {BASE: "unreadable", "1.base/digits_cnn": "reproduced", KD: "reproduced"},
    )
    told = {check["row"]["name"]: check for check in checked.json}
    assert told[BASE]["top1"]["reason"].startswith(f"{damaged.relative_to(stored)}: ")
    assert reason in told[BASE]["top1"]["reason"]
    assert told[KD]["gain"]["word"] == "unreadable"
    assert damaged.name in kdbench("report", "suites/small").out
    status = kdbench("status", "suites/small")
    assert (status.code, status.out.splitlines()[0]) == (0, "5 done, 1 unreadable")
    assert f"{damaged.relative_to(stored)}: " in status.out
    assert reason in status.out


def test_report_with_a_damaged_result_is_written_in_every_format(kdbench: Command, stored: Path) -> None:
    min((stored / "results" / "digits").glob("digits_mlp-ce.s0.*.json")).write_text("{", encoding="utf-8")
    codes = {kind: kdbench("report", "suites/small", "--format", kind).code for kind in FORMATS}
    assert codes == dict.fromkeys(FORMATS, 0)


@pytest.mark.usefixtures("stored")
def test_damaged_failure_beside_a_result_stops_nothing(kdbench: Command, stored: Path) -> None:
    for path in list((stored / "results" / "digits").glob("*.json")):
        path.with_name(path.name.replace(".json", ".failed.json")).write_text("{", encoding="utf-8")
    assert kdbench("check", "suites/small").code == 0
    assert kdbench("report", "suites/small").code == 0
    assert kdbench("status", "suites/small").out == "6 done\n"


def test_damaged_failure_without_a_result_is_named(kdbench: Command, project: Path) -> None:
    fail_teacher(project)
    (damaged,) = (project / "results" / "digits").glob("*.failed.json")
    damaged.write_text("{", encoding="utf-8")
    done = kdbench("check", "suites/small")
    assert (done.code, "unreadable" in done.out, damaged.name in done.out) == (1, True, True)
    status = kdbench("status", "suites/small")
    assert f"{damaged.relative_to(project)}: no valid record of a failure" in status.out


def test_damaged_repeat_is_named_beside_the_verdict(kdbench: Command, stored: Path) -> None:
    first = min((stored / "results" / "digits").glob("digits_mlp-ce.s0.*.json"))
    first.with_name(first.name.replace(".json", ".repeat1.json")).write_text("{", encoding="utf-8")
    check = kdbench("check", "suites/small", "--json").json[0]
    assert check["top1"]["word"] == "reproduced"
    assert ".repeat1.json: no valid result" in check["repeats"][0]
