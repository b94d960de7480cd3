"""Verdicts on the command line: exit codes, reported epochs, seeds, controls, claims."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from kdbench.plan.expand import expand
from kdbench.store.records import save_result
from kdbench.suite.load import load_suite
from tests.support.build import make_result
from tests.support.command import Command
from tests.support.project import AS_PRINTED, SUITE, change, fail_teacher, store, write_suite

KD = "1.kd/digits_mlp:digits_cnn"


@pytest.mark.parametrize(("off", "code", "strict"), [(0.0, 0, 0), (0.4, 0, 0), (0.6, 1, 1), (-0.6, 1, 1)])
def test_check_exits_by_its_verdicts(
    kdbench: Command, project: Path, off: float, code: int, strict: int
) -> None:
    values = {name: top1 + off for name, top1 in AS_PRINTED.items()}
    store(project, project / "suites" / "small.toml", values)
    assert [kdbench("check", "suites/small", *words).code for words in ([], ["--strict"])] == [code, strict]


def test_check_of_nothing_stored_is_well_but_not_strictly(kdbench: Command) -> None:
    assert [kdbench("check", "suites/small", *words).code for words in ([], ["--strict"])] == [0, 1]


def test_check_of_a_failed_teacher_exits_with_1(kdbench: Command, project: Path) -> None:
    fail_teacher(project)
    done = kdbench("check", "suites/small", "--rows", KD)
    assert (done.code, "blocked" in done.out, "loss is NaN" in done.out) == (1, True, True)


def test_check_looks_only_at_the_rows_asked_for(kdbench: Command, project: Path) -> None:
    store(project, project / "suites" / "small.toml", AS_PRINTED | {"1.base/digits_cnn": 80.0})
    assert [kdbench("check", "suites/small", "--rows", rows).code for rows in ("*", KD)] == [1, 0]


def test_check_of_settings_holds_nothing_against_the_paper(kdbench: Command, project: Path) -> None:
    plan = kdbench("plan", "suites/small", "--set", "epochs=2", "--json").json
    assert plan[0]["run"]["recipe"]["epochs"] == 2
    store(project, project / "suites" / "small.toml", AS_PRINTED | {"1.base/digits_cnn": 80.0})
    assert kdbench("check", "suites/small", "--set", "epochs=2").code == 0


def test_repeat_that_differs_is_told(kdbench: Command, project: Path) -> None:
    run = store(project, project / "suites" / "small.toml", AS_PRINTED)[0]
    save_result(project / "results", make_result(run, 10.0, 20.0, 30.0))
    assert kdbench("check", "suites/small", "--json").json[0]["repeats"]


def curve(project: Path, path: Path, values: Mapping[str, tuple[float, float, float]]) -> None:
    """Results of three epochs for the rows of the small suite."""
    for cell in expand(load_suite(path)):
        for run in cell.runs if cell.row.name in values else ():
            save_result(project / "results", make_result(run, *values[cell.row.name]))


def test_report_epoch_changes_the_verdict_and_trains_nothing(kdbench: Command, project: Path) -> None:
    curve(project, project / "suites" / "small.toml", {"1.base/digits_mlp": (80.0, 90.0, 70.0)})
    words = [
        kdbench("check", "suites/small", "--json", *report_epoch).json[0]["top1"]["word"]
        for report_epoch in ([], ["--report-epoch", "best"], ["--report-epoch", "2"], ["--report-epoch", "1"])
    ]
    assert words == ["below", "reproduced", "reproduced", "below"]


def test_report_epoch_stands_in_the_command_of_the_report(kdbench: Command) -> None:
    report = kdbench("report", "suites/small", "--report-epoch", "best", "--holm").out
    assert "kdbench run suites/small --report-epoch best --holm" in report


def test_report_epoch_leaves_an_epoch_that_is_printed(kdbench: Command, project: Path) -> None:
    path = write_suite(project, change(("top1 = 90.0", "top1 = 80.0, report_epoch = 1")))
    curve(project, path, {"1.base/digits_mlp@1": (80.0, 90.0, 70.0)})
    check = kdbench("check", "suites/small", "--report-epoch", "best", "--json", "--rows", "*@1").json[0]
    assert check["top1"]["word"] == "reproduced"


def test_plan_proposes_the_seeds_that_decide_and_what_they_cost(kdbench: Command, project: Path) -> None:
    store(project, project / "suites" / "small.toml", {"1.base/digits_mlp": 90.0})
    found = kdbench("plan", "suites/small", "--budget", "1h", "--json").json
    assert found == []  # the one is decided, nothing like the others was trained
    auto = kdbench("plan", "suites/small", "--seeds", "auto", "--json").json
    assert [each["row"] for each in auto] == ["1.base/digits_cnn", KD]
    assert "2 rows of unknown cost" in kdbench("plan", "suites/small", "--budget", "1h").out


def test_check_of_auto_seeds_takes_all_that_are_stored(kdbench: Command, project: Path) -> None:
    path = project / "suites" / "small.toml"
    for cell in expand(load_suite(path), rows="1.base/digits_mlp", seeds=range(4)):
        for run in cell.runs:
            save_result(project / "results", make_result(run, 90.0, 90.0, 90.0))
    check = kdbench("check", "suites/small", "--seeds", "auto", "--json").json[0]
    assert check["top1"]["n"] == 4


def test_dry_run_of_auto_seeds_is_the_first_step_of_the_run(kdbench: Command) -> None:
    """Two seeds of each row, not all four that it may come to."""
    words = ("run", "suites/small", "--seeds", "auto", "--dry-run", "--max-seeds", "4")
    dry = kdbench(*words).out.splitlines()
    assert dry[0] == "small: 3 rows; 0 runs stored, 6 to train"
    assert "each that is still open gets one seed more, up to 4 in all" in dry[-1]
    assert kdbench(*words, "--rerun").code == 2


def test_plan_and_check_of_auto_seeds_give_one_verdict(kdbench: Command, project: Path) -> None:
    """An interval of 90 % lies inside the tolerance, that of the first of ten analyses does not."""
    path = project / "suites" / "small.toml"
    runs = expand(load_suite(path), rows="1.base/digits_mlp")[0].runs
    for run, top1 in zip(runs, (90.1, 90.0), strict=True):
        save_result(project / "results", make_result(run, top1, top1, top1))
    words = ("suites/small", "--rows", "1.base/digits_mlp")
    assert kdbench("check", *words, "--json").json[0]["top1"]["word"] == "reproduced"
    [planned] = kdbench("plan", *words, "--seeds", "auto", "--json").json
    [checked] = kdbench("check", *words, "--seeds", "auto", "--json").json
    assert planned["top1"] == checked["top1"]["word"] == "consistent"


def test_check_names_seeds_that_are_stored_and_not_judged(kdbench: Command, stored: Path) -> None:
    path = stored / "suites" / "small.toml"
    [cell] = expand(load_suite(path), rows="1.base/digits_mlp", seeds=[2, 3, 6])
    for run in cell.runs:
        save_result(stored / "results", make_result(run, 90.0, 90.0, 90.0))
    named = "1.base/digits_mlp: seeds {} are stored too and not judged: --seeds {} judges all"
    assert named.format("2-3,6", "0-3,6") in kdbench("check", "suites/small").out
    assert named.format("6", "0-3,6") in kdbench("check", "suites/small", "--seeds", "auto").out
    assert "stored too" not in kdbench("check", "suites/small", "--seeds", "0-1").out


def test_attribute_says_what_is_missing_and_what_each_delta_explains(kdbench: Command, project: Path) -> None:
    assert "6 runs missing" in kdbench("attribute", f"small/{KD}").out
    path = project / "suites" / "small.toml"
    for variant, top1 in (("printed", 91.0), ("released", 92.5)):
        for cell in expand(load_suite(path), variant=variant, rows=KD):  # type: ignore[arg-type]
            for run in cell.runs:
                save_result(project / "results", make_result(run, top1, top1, top1))
    done = kdbench("attribute", f"small/{KD}", "--json")
    assert done.json["explained"][0]["explains"]["points"] == 1.5
    assert kdbench("attribute", f"small/{KD}").out.count("+1.50 ± 0.00 (2)") == 4


def test_controls_are_planned_and_reported_on_request(kdbench: Command, project: Path) -> None:
    store(project, project / "suites" / "small.toml", AS_PRINTED)
    words = ("suites/small", "--controls")
    assert "8 to train" in kdbench("run", *words, "--dry-run").out
    assert "## Controls" in kdbench("report", *words).out
    assert "the teacher matters" in kdbench("check", *words).out
    assert "## Controls" not in kdbench("report", "suites/small").out


CLAIM = """
[[claim]]
id = "kd"
says = "KD improves the student"
section = "Sec. 1"
improves = ["1.kd"]
"""


@pytest.mark.parametrize(("top1", "outcome", "code"), [(92.0, "holds", 0), (89.0, "does not hold", 1)])
def test_claim_is_told_by_check_report_and_claims(
    kdbench: Command, project: Path, top1: float, outcome: str, code: int
) -> None:
    path = write_suite(project, SUITE + CLAIM)
    store(project, path, AS_PRINTED | {KD: top1})
    assert f"{outcome}: KD improves the student (Sec. 1)" in kdbench("check", "suites/small").out
    assert "## Claims" in kdbench("report", "suites/small").out
    done = kdbench("claims", "suites/small", "--json")
    assert (done.code, done.json["suites/small.toml"][0]["outcome"]) == (code, outcome)
