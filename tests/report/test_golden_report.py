"""The reports of tests/golden/report, byte for byte; `make golden` makes them again."""

import pytest

from kdbench.plan.expand import expand
from kdbench.plan.selection import Selection
from kdbench.report.gather import gather
from kdbench.spec.verdicts import Outcome, Word
from kdbench.store.records import index
from kdbench.suite.load import load_suite
from kdbench.verdict.judge import judge
from tests.support.golden_report import FINAL, FOLDER, REPORTS, SUITE, reports


@pytest.mark.parametrize("kind", REPORTS)
def test_report_is_the_golden_one(kind: str) -> None:
    assert reports(FOLDER)[kind] == (FOLDER / REPORTS[kind]).read_text(encoding="utf-8")


def test_every_verdict_is_in_the_golden_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    [(_, checks)] = judge(Selection(suites=(SUITE,))).suites
    assert {check.top1.word for check in checks} == set(Word)


def test_every_outcome_of_a_claim_is_in_the_golden_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    [report] = gather(judge(Selection(suites=(SUITE,))))
    of_controls_alone = {Outcome.UNREADABLE}
    assert {found.outcome for found in report.claims} == set(Outcome) - of_controls_alone


def test_golden_records_are_of_the_runs_that_are_planned_today() -> None:
    there = index(FOLDER / "results")
    planned = {
        of
        for cell in expand(load_suite(FOLDER / f"{SUITE}.toml"))
        for of, _ in zip(cell.ids, FINAL.get(cell.row.name, ()), strict=False)
    }
    assert planned == there.results.keys() | there.failures.keys(), "run `make golden`"
