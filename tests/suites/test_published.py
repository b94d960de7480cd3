"""The suites of both papers hold every published cell once, and lint finds what the papers contradict.

tests/golden holds the tables as they were read; nothing here takes a number from a suite.
"""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kdbench.cli import cli
from tests.support.places import ROOT, golden_lines

Line = dict[str, str]
Rows = dict[str, dict[str, Any]]
Warnings = list[tuple[str, dict[str, Any]]]


TFKD = golden_lines("tfkd")
FNKD = golden_lines("fnkd")
PARTS = {"normal_kd": "kd", "re_kd": "rekd", "de_kd": "dekd", "onehot": "baseline", "kd_T1": "kd"}
"""The csv's words for the part of a table, where the suites' differ."""


def printed_json(*words: str) -> Any:  # noqa: ANN401 - JSON
    """What a command prints for programs."""
    done = CliRunner().invoke(cli, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """`kdbench list rows` over all suites of both papers: by `PAPER DATASET TABLE.PART/STUDENT:TEACHER`."""
    found: Rows = {}
    for path in sorted((ROOT / "suites").glob("*kd_*.toml")):
        paper, _, dataset = path.stem.partition("_")
        for row in printed_json("list", "rows", str(path), "--as", "printed"):
            found[f"{paper} {dataset} {row['name'].replace('_224', '')}"] = row
    return found


def number(text: str) -> float | None:
    return float(text) if text else None


def address(line: Line) -> str:
    """Where a printed line of Tf-KD stands."""
    taught = {"tfkd_self": ":self", "tfkd_reg": "", "lsr": ""}.get(line["method"], f":{line['teacher']}")
    part = PARTS.get(line["method"], line["method"])
    return f"tfkd {line['dataset']} {line['table']}.{part}/{line['student']}{taught}"


def numbers(row: dict[str, Any]) -> tuple[float | None, ...]:
    return tuple(row["reference"].get(key) for key in ("top1", "std", "gain"))


def test_table_of_tfkd_has_its_cells() -> None:
    counts = Counter(line["dataset"] for line in TFKD)
    assert counts == {"cifar100": 48, "cifar10": 8, "tinyimagenet": 34, "imagenet": 13}
    assert counts.total() == len({address(line) for line in TFKD}) == 103


def test_every_cell_of_tfkd_stands_once_with_its_numbers(rows: Rows) -> None:
    printed = {
        address(line): tuple(number(line[key]) for key in ("acc", "std", "printed_delta")) for line in TFKD
    }
    plain = {name for name, row in rows.items() if row["loss"]["name"] == "ce"}
    there = {
        name: numbers(row) for name, row in rows.items() if name.startswith("tfkd") and name not in plain
    }
    assert there == printed


def test_every_cell_of_tfkd_says_where_it_was_read(rows: Rows) -> None:
    sources = {address(line): f"Table {line['table']}, {line['certainty']}" for line in TFKD}
    assert {name: rows[name]["reference"]["source"] for name in sources} == sources


def test_printed_baselines_and_teachers_of_tfkd_stand_in_their_tables(
    rows: Rows,
) -> None:
    plain: defaultdict[tuple[str, str, str], set[float | None]] = defaultdict(set)
    for name, row in rows.items():
        if name.startswith("tfkd") and row["loss"]["name"] == "ce":
            dataset, table = name.split()[1], row["table"].partition(".")[0]
            epoch = f"@{row['report_epoch']}" if isinstance(row["report_epoch"], int) else ""
            plain[dataset, table, row["student"].removesuffix("_224") + epoch].add(
                row["reference"].get("top1")
            )
    for line in TFKD:
        at = (line["dataset"], line["table"])
        assert plain[*at, line["student"]] == {float(line["baseline"])}
        if line["teacher_acc"]:
            assert plain[*at, line["teacher"]] == {float(line["teacher_acc"])}


def fnkd_address(line: Line) -> str:
    """Where a line of FNKD's figures stands; Gluon's CIFAR networks are `_v2`."""
    student = line["student"] + ("_v2" if line["student"] in ("resnet20", "resnet56") else "")
    larger = {"resnet20_v2": "resnet56_v2", "resnet56_v2": "resnet110_v2", "resnet18": "resnet50"}
    dataset = "cifar100_coarse" if line["table"] == "released teacher" else line["dataset"]
    table = f"{line['table']}." if line["table"] == "1" else ""
    taught = f":{line['teacher'] or larger[student]}" if line["method"] in ("fnkd", "kd_T1") else ""
    return f"fnkd {dataset} {table}{PARTS.get(line['method'], line['method'])}/{student}{taught}"


def test_fnkd_has_the_sourced_numbers_and_no_other(rows: Rows) -> None:
    sourced = {fnkd_address(line): (number(line["acc"]), None, number(line["gain"])) for line in FNKD}
    assert len(sourced) == 13
    there = {
        name: numbers(row)
        for name, row in rows.items()
        if name.startswith("fnkd") and any(numbers(row)) and not row["released"]
    }
    assert there == sourced
    released = {name: numbers(row) for name, row in rows.items() if row["released"]}
    assert released == {"fnkd cifar100_coarse released/resnet56_v2": (81.73, None, None)}


def test_second_hand_gains_of_fnkd_are_marked_and_over_kd(rows: Rows) -> None:
    for line in FNKD:
        row = rows[fnkd_address(line)]
        second_hand = line["certainty"].startswith("second-hand")
        assert (row["reference"].get("kind") == "second-hand") == second_hand
        if second_hand:
            assert row["over"] == row["name"].replace("fnkd/", "kd/")
            assert rows[fnkd_address(line).replace(" fnkd/", " kd/")]["loss"]["name"] == "fnkd_kd"


# What lint prints over the four suites of Tf-KD.

SUMS = {
    "cifar100 4.dekd/mobilenetv2:resnet50@50": "3.09, but 71.45 - 68.38 is 3.07",
    "cifar100 4.dekd/resnet18:resnet50@50": "1.23, but 77.23 - 75.87 is 1.36",
    "cifar100 9.kd/googlenet:resnext29": "0.99, but 78.84 - 78.15 is 0.69",
    "cifar10 2.rekd/mobilenetv2:plaincnn": "0.92, but 91.81 - 90.98 is 0.83",
    "tinyimagenet 10.tfkd_reg/densenet121": "0.18, but 68.37 - 68.15 is 0.22",
    "tinyimagenet 10.kd/densenet121:resnext29": "0.26, but 68.44 - 68.15 is 0.29",
    "tinyimagenet 10.lsr/shufflenetv2": "0.11, but 60.66 - 60.51 is 0.15",
    "imagenet 11.lsr/resnet50": "0.51, but 76.38 - 75.77 is 0.61",
}
PAIRS = {
    "cifar100 5, 9": {
        "googlenet, ce: top1 78.72 in Table 5, 78.15 in Table 9",
        "resnet18 from resnet50, kd: gain 1.19 in Table 5, 1.32 in Table 9",
        "googlenet from resnext29, kd: gain 1.39 in Table 5, 0.99 in Table 9",
    },
    "tinyimagenet 3, 6, 10": {
        (
            "mobilenetv2 from resnet18, kd: top1 56.70 in Table 3, 56.53 in Table 10; "
            "gain 1.64 in Table 3, 1.64 in Table 6, 1.47 in Table 10"
        ),
    },
    "tinyimagenet 6, 10": {"densenet121 from resnext29, kd: gain 0.16 in Table 6, 0.26 in Table 10"},
}


@pytest.fixture(scope="module")
def warnings() -> Warnings:
    """The contradictions that `kdbench lint suites/tfkd_*` finds, each with its data set."""
    paths = [str(path) for path in sorted((ROOT / "suites").glob("tfkd_*.toml"))]
    assert len(paths) == 4
    found = printed_json("lint", *paths)
    datasets = {path: Path(path).stem.removeprefix("tfkd_") for path in found}
    return [
        (datasets[path], each) for path, some in found.items() for each in some if each["level"] == "warning"
    ]


def test_lint_finds_exactly_the_gains_that_do_not_add_up(warnings: Warnings) -> None:
    sums = {
        f"{dataset} {row.replace('_224', '')}": each["sentence"].partition("the printed gain is ")[2]
        for dataset, each in warnings
        if each["rule"] == "gain-differs"
        for row in each["rows"]
    }
    assert sums == SUMS


def test_lint_finds_exactly_the_tables_that_disagree(warnings: Warnings) -> None:
    pairs: defaultdict[str, set[str]] = defaultdict(set)
    for dataset, each in warnings:
        if each["rule"] != "gain-differs":
            pairs[f"{dataset} {each['table']}"].add(each["sentence"])
    assert pairs == PAIRS


def test_gains_that_do_not_add_up_are_those_of_the_table_itself() -> None:
    wrong = {
        address(line).removeprefix("tfkd ")
        for line in TFKD
        if line["acc"]
        and abs(float(line["acc"]) - float(line["baseline"]) - float(line["printed_delta"])) > 0.0051
    }
    assert wrong == SUMS.keys()


def test_tables_that_disagree_are_those_of_the_table_itself() -> None:
    """One quantity: an accuracy or a gain of a student, a teacher and a method, or a student's baseline."""
    printed: defaultdict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for line in TFKD:
        method = "kd" if line["method"].endswith("_kd") else line["method"]
        for key in ("acc", "printed_delta"):
            if line[key]:
                printed[line["dataset"], line["student"], line["teacher"], method, key][line["table"]] = line[
                    key
                ]
        printed[line["dataset"], line["student"], "", "ce", "acc"][line["table"]] = line["baseline"]
    differing = {of[:4] for of, by_table in printed.items() if len(set(by_table.values())) > 1}
    assert differing == {
        ("cifar100", "googlenet", "", "ce"),
        ("cifar100", "resnet18", "resnet50", "kd"),
        ("cifar100", "googlenet", "resnext29", "kd"),
        ("tinyimagenet", "mobilenetv2", "resnet18", "kd"),
        ("tinyimagenet", "densenet121", "resnext29", "kd"),
    }
