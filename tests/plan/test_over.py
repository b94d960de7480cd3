"""A gain over another row than the baseline: in the loader, the verdicts, lint, the report and show."""

from pathlib import Path

import pytest

from kdbench.errors import UserError
from kdbench.plan.expand import expand
from kdbench.suite.load import load_suite
from tests.support.command import Command
from tests.support.project import AS_PRINTED, SUITE, change, store, write_suite
from tests.support.refused import problems_of

KD = "1.kd/digits_mlp:digits_cnn"
BETTER = "2.kd/digits_mlp:digits_cnn"
TEXT = f"""{SUITE}
[[table]]
id = "2.kd"
kind = "second-hand"
source = "a survey"
loss = {{ name = "kd", alpha = 0.9, tau = 8 }}
rows = [
  {{ student = "digits_mlp", teacher = "digits_cnn", gain = 0.5, over = "{KD}" }},
]
"""


@pytest.fixture
def path(project: Path) -> Path:
    """The project with a row that gains over its KD row, and results: 90, 92 and 92.4 percent."""
    path = write_suite(project, TEXT)
    store(project, path, {**AS_PRINTED, BETTER: 92.4})
    return path


def test_gain_over_a_row_is_measured_over_its_runs(path: Path) -> None:
    (kd,), (better,) = (expand(load_suite(path), rows=name) for name in (KD, BETTER))
    assert better.baselines == kd.ids
    assert kd.baselines != better.baselines


@pytest.mark.usefixtures("path")
def test_gain_over_a_row_gets_its_verdict(kdbench: Command) -> None:
    (check,) = kdbench("check", "suites/small", "--rows", BETTER, "--json").json
    assert check["gain"]["measured"] == pytest.approx(0.4)
    assert check["gain"]["printed"] == 0.5
    assert check["gain"]["word"] == "reproduced"


@pytest.mark.usefixtures("project")
def test_gain_over_a_row_waits_for_that_row(project: Path, kdbench: Command) -> None:
    store(project, write_suite(project, TEXT), {BETTER: 92.4})
    (check,) = kdbench("check", "suites/small", "--rows", BETTER, "--json").json
    assert check["gain"]["reason"] == f"{KD} has no result of these seeds yet"


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("report", "suites/small"), f"the printed and the measured gain are over {KD}, not the baseline"),
        (("report", "suites/small"), "| +0.50 over 1.kd |"),
        (("report", "suites/small", "--summary"), "+0.40 ± 0.00 (2) over 1.kd |"),
        (
            ("report", "suites/small", "--format", "latex"),
            r"$+0.50$ over 1.kd & $+0.40 \pm 0.00$ (2) over 1.kd",
        ),
        (("report", "suites/small", "--format", "csv"), f",{KD},"),
        (("report", "suites/small", "--format", "html"), "+0.50 <small>over 1.kd</small>"),
        (("check", "suites/small"), "+0.40 ± 0.00 (2) over 1.kd  reproduced"),
        (("lint", "suites/small"), f"gain 0.50 over {KD} second-hand (a survey)"),
        (("show", f"small/{BETTER}"), f"second-hand: gain +0.50 over {KD}"),
        (("list", "rows", "suites/small"), f"+0.50 over {KD}"),
    ],
    ids=["report", "Markdown", "summary", "LaTeX", "CSV", "page", "check", "lint", "show", "list"],
)
def test_gain_over_a_row_says_so(kdbench: Command, words: tuple[str, ...], message: str) -> None:
    assert message in kdbench(*words).out.replace("\\_", "_")


def test_printed_gain_over_a_row_is_added_up_over_it(tmp_path: Path) -> None:
    text = change(("gain = 0.5, over", "top1 = 92.5, gain = 0.5, over"), suite=TEXT)
    assert load_suite(write_suite(tmp_path, text)).rows[3].reference.gain == 0.5
    with pytest.raises(UserError, match=r"gain = 0.6, but 92.5 - 92.0 is 0.50"):
        load_suite(write_suite(tmp_path, text.replace("gain = 0.5", "gain = 0.6")))


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("1.kd/digits_mlp:digits_cn", f"unknown row '1.kd/digits_mlp:digits_cn'. Did you mean '{KD}'?"),
        ("1.base/digits_cnn", "1.base/digits_cnn trains digits_cnn; a gain is over the same student"),
        (BETTER, "a row gains nothing over itself"),
    ],
    ids=["unknown", "another student", "itself"],
)
def test_row_that_nothing_can_be_gained_over_is_refused(tmp_path: Path, over: str, message: str) -> None:
    path = write_suite(tmp_path, change((f'over = "{KD}"', f'over = "{over}"'), suite=TEXT))
    (problem,) = problems_of(load_suite, path)
    assert f"{BETTER}: over: " in problem
    assert message in problem


@pytest.mark.usefixtures("path")
def test_gains_over_different_rows_are_not_compared(kdbench: Command) -> None:
    assert kdbench("lint", "suites/small").out.startswith("suites/small: 0 contradictions")
