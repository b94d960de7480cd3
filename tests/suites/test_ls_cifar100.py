"""suites/ls_cifar100: the README's 112 values, the 54 logs, and what these say of each other.

tests/golden/ls.csv holds the values as they were read; nothing here takes a number from the suite.
"""

from pathlib import Path

import pytest

from kdbench.plan.selection import Selection
from kdbench.report import gather
from kdbench.report.content import Report
from kdbench.spec.author_runs import AuthorRuns
from kdbench.spec.suites import Suite
from kdbench.store.author_runs import load_author_runs
from kdbench.verdict.judge import judge
from kdbench.verdict.published import last_or_best
from tests.support.places import ROOT, golden_lines
from tests.support.suites import shipped

NAMES = {"mn-v2": "mobilenetv2_crd", "shn-v2": "shufflenetv2_crd", "resnet50": "resnet50_crd"}


@pytest.fixture(scope="module")
def suite() -> Suite:
    return shipped("ls_cifar100")


@pytest.fixture(scope="module")
def authors() -> AuthorRuns:
    return load_author_runs(ROOT / "results", "ls_cifar100")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.chdir(ROOT)
    return gather.gather(judge(Selection(suites=("suites/ls_cifar100",))))[0]


def test_suite_holds_every_printed_value_once(suite: Suite) -> None:
    lines = golden_lines("ls")
    printed = {}
    for line in lines:
        method = line["method"].lower().replace("+", "_")
        student, teacher = (
            NAMES.get(name, name) for name in (line["student"].lower(), line["teacher"].lower())
        )
        printed[f"{line['table']}.{method}/{student}:{teacher}"] = float(line["acc"])
    assert {row.name: row.reference.top1 for row in suite.rows if row.table != "0"} == printed
    assert len(printed) == len(lines) == 112


def test_rows_name_their_protocol_and_why_they_are_not_trained(suite: Suite) -> None:
    printed = [row for row in suite.rows if row.table != "0"]
    trained = {row.table.partition(".")[2] for row in printed if not row.untrained}
    assert trained == {"kd", "kd_ls", "ctkd", "ctkd_ls", "dkd", "dkd_ls"}
    epochs = {row.table.partition(".")[2].partition("_")[0]: row.recipe.epochs for row in printed}
    assert epochs == {"kd": 240, "ctkd": 240, "dkd": 240, "mlkd": 480}
    assert {row.report_epoch for row in suite.rows if row.table.endswith("_ls")} == {"best"}


def test_weights_of_dkd_are_those_of_the_logs_names(suite: Suite, authors: AuthorRuns) -> None:
    """`dkd,TEACHER,STUDENT,T,WEIGHT[,BETA]`: the weight multiplies alpha = 1, and this or the usual beta."""
    configured = {"1.dkd_ls/resnet8x4:resnet32x4": 8, "2.dkd_ls/shufflenetv2_crd:resnet32x4": 8}
    logs = {run.row: run.path for run in authors.runs if ".dkd_ls/" in run.row}
    assert len(logs) == 14
    for row in (row for row in suite.rows if row.name in logs):
        _, _, _, tau, weight, *beta = logs[row.name].rpartition("/")[2].removesuffix(".txt").split(",")
        wanted = float(beta[0]) if beta else configured[row.name]
        assert row.loss.params == {
            "alpha": float(weight),
            "beta": float(weight) * wanted,
            "tau": float(tau),
            "warmup": 20,
        }


def test_dkd_has_the_weights_of_its_own_suite(suite: Suite) -> None:
    """Where mdistiller has a configuration of the pair; others say what they assume."""
    own = {row.name: row.loss for row in shipped("dkd_cifar100").rows}
    rows = [row for row in suite.rows if row.loss.name == "dkd"]
    assert {row.name: row.loss for row in rows if not row.assumed} == {
        row.name: own[row.name] for row in rows if row.name in own
    }
    assert {row.name for row in rows if row.assumed} == {row.name for row in rows} - set(own)


def test_54_logs_hold_57_runs(authors: AuthorRuns) -> None:
    assert len({run.row for run in authors.runs}) == len({run.path for run in authors.runs}) == 54
    assert len(authors.runs) == 57
    assert [run.last_epoch for run in authors.runs if run.last_epoch not in (240, 480)] == [960]
    (published,) = authors.published
    assert published.source.sha256 == "a69ff2f52fa6a051581d21989a9be9bcfed26c1fde5015a6af62e661c667b6ad"


def test_logs_answer_last_or_best(report: Report) -> None:
    found = last_or_best(report.checks)
    assert found is not None
    assert (found.rows, found.nearer_best, found.nearer_last, found.single) == (54, 32, 22, 51)
    assert found.optimism == pytest.approx(0.316, abs=0.0005)
    # Beyond both of their intervals: the printed means are neither the logs' last epochs nor their best.
    assert found.over_last == pytest.approx(0.174, abs=0.0005)
    assert found.over_best == pytest.approx(-0.138, abs=0.0005)
    assert found.over_last > found.half_last
    assert -found.over_best > found.half_best


def test_report_warns_of_mixed_protocols(report: Report) -> None:
    warnings = [found.sentence for found in report.contradictions if found.rule == "protocol-differs"]
    assert warnings == [
        f"Table {table} mixes protocols: 240 epochs, but 480 epochs: {table}.mlkd, {table}.mlkd_ls"
        for table in "12"
    ]
    notes = {check.row.name: check.published.notes for check in report.checks if check.published}
    assert {name: found for name, found in notes.items() if found} == {
        "2.mlkd_ls/shufflenetv2_crd:resnet32x4": ("protocol: logged for 960 epochs, the row trains 480",)
    }


def test_committed_author_runs_are_small(authors: AuthorRuns) -> None:
    assert authors.suite == "ls_cifar100"
    assert Path(ROOT, "results", "author_runs", "ls_cifar100.json").stat().st_size < 150_000
