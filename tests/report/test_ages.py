"""How old the evidence is: the oldest training of each row, the oldest row first."""

from datetime import date

from msgspec.structs import replace

from kdbench.report.ages import ages
from kdbench.report.content import Report
from kdbench.verdict.check import check_suite
from tests.support.build import make_cell, make_result, make_row, make_suite


def trained(days: dict[str, list[str]]) -> Report:
    """A report of rows, by student, whose seeds were trained on these days."""
    cells = [make_cell(make_row(student), seeds=range(len(some))) for student, some in days.items()]
    results = {}
    for cell, some in zip(cells, days.values(), strict=True):
        for run, day in zip(cell.runs, some, strict=True):
            results[run.id] = replace(make_result(run, 1.0, 2.0), environment={"finished": day})
    rows = [cell.row for cell in cells]
    return Report(suite=make_suite(*rows), checks=check_suite(cells, results), results=results)


def lines(report: Report) -> list[list[str]]:
    body = ages([report], date(2026, 11, 22)).splitlines()[4:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body]


def test_age_is_that_of_the_oldest_training() -> None:
    report = trained({"plaincnn": ["2026-11-20T10:00:00+00:00", "2026-11-02T10:00:00+00:00"]})
    assert lines(report) == [["tfkd_cifar100/1.kd/plaincnn", "no reference", "2026-11-02", "20"]]


def test_oldest_row_comes_first() -> None:
    report = trained({"plaincnn": ["2026-11-20"], "resnet18": ["2026-11-01"], "resnet50": ["2026-11-10"]})
    assert [line[3] for line in lines(report)] == ["21", "12", "2"]


def test_records_without_a_day_are_left_out() -> None:
    assert "No record says a day." in ages([trained({"plaincnn": [""]})], date(2026, 11, 22))
