"""The quickstart as a stranger runs it, and that a mistake in any loss turns a row of it red."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from kdbench.formatting import number, signed
from kdbench.machine import Folders, Machine
from kdbench.models.output import Output
from kdbench.plan.expand import expand
from kdbench.report.summary import BEGIN, END
from kdbench.spec.results import Result
from kdbench.spec.verdicts import Check
from kdbench.store.records import index, load_results
from kdbench.training import losses
from kdbench.training.context import open_context
from kdbench.training.run import train
from kdbench.verdict.check import check_suite, exit_code
from tests.support.places import ROOT
from tests.support.suites import shipped

SUITE = shipped("quickstart")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which `kdbench run suites/quickstart` has run, and what it printed."""
    folder = tmp_path_factory.mktemp("quickstart")
    command = [sys.executable, "-m", "kdbench", "run", str(ROOT / "suites" / "quickstart"), "--offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    return folder, done


@pytest.mark.slow
def test_quickstart_trains_checks_and_reports(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert "## Table tfkd_self" in done.stdout
    assert len(index(folder / "results").results) == 24


@pytest.mark.slow
def test_quickstart_again_trains_nothing(trained: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, first = trained
    command = [sys.executable, "-m", "kdbench", "run", str(ROOT / "suites" / "quickstart"), "--offline"]
    rerun = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert "24 runs stored, 0 to train" in rerun.stderr
    assert (rerun.returncode, rerun.stdout) == (0, first.stdout)


def misaligned_ce(s: Output, y: torch.Tensor) -> torch.Tensor:
    """Images and classes of a batch are shifted against each other."""
    return GOOD["ce"](s, y.roll(1))


def unsmoothed_lsr(s: Output, y: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """ε is forgotten: its gain is 0, which is outside the error of the printed gain, 0.56."""
    return GOOD["lsr"](s, y, epsilon=0 * epsilon)


def misplaced_lsr(s: Output, y: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """The target is the next class."""
    return GOOD["lsr"](s, (y + 1) % s.logits.shape[1], epsilon=epsilon)


def untaught_kd(s: Output, y: torch.Tensor, t: Output, *, alpha: float, tau: float) -> torch.Tensor:
    """The soft term is forgotten."""
    del t, alpha, tau
    return GOOD["ce"](s, y)


def summed_self(s: Output, y: torch.Tensor, t: Output, *, alpha: float, tau: float) -> torch.Tensor:
    """The soft term is summed over the batch instead of averaged."""
    soft = len(y) * losses.divergence(t.logits, s.logits, tau)
    return (1 - alpha) * GOOD["ce"](s, y) + alpha * soft


def misplaced_reg(s: Output, y: torch.Tensor, *, alpha: float, tau: float, a: float) -> torch.Tensor:
    """The virtual teacher is always wrong by one class."""
    return GOOD["tfkd_reg"](s, (y + 1) % s.logits.shape[1], alpha=alpha, tau=tau, a=a)


GOOD: dict[str, Callable[..., torch.Tensor]] = {
    name: getattr(losses, name) for name in ("ce", "lsr", "kd", "tfkd_self", "tfkd_reg")
}
MISTAKES = [
    ("ce", misaligned_ce, "baseline/digits_mlp"),
    ("lsr", unsmoothed_lsr, "lsr/digits_mlp"),
    ("lsr", misplaced_lsr, "lsr/digits_mlp"),
    ("kd", untaught_kd, "kd/digits_mlp:digits_cnn"),
    ("tfkd_self", summed_self, "tfkd_self/digits_mlp:self"),
    ("tfkd_reg", misplaced_reg, "tfkd_reg/digits_mlp"),
]


def judged(row: str, folder: Path, mistaken: dict[str, Result] | None = None) -> Check:
    """The row's verdicts over what is stored in a folder, with some runs' results put in its place."""
    cells = expand(SUITE, rows=row)
    ids = [name for cell in cells for name in (*cell.ids, *cell.baselines)]
    results = load_results(index(folder / "results"), ids)
    return check_suite(cells, {**results, **(mistaken or {})})[0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mistake", "row"), MISTAKES)
def test_mistake_in_a_loss_turns_its_row_red(
    name: str,
    mistake: Callable[..., torch.Tensor],
    row: str,
    trained: tuple[Path, subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _ = trained
    assert exit_code([judged(row, folder)]) == 0
    monkeypatch.setattr(losses, name, mistake)
    context = open_context(Machine(root=str(folder), folders=Folders(results="broken")))
    runs = [run for cell in expand(SUITE, rows=row) for run in cell.runs]
    wrong = {run.id: replace(train(run, context), id=run.id) for run in runs}
    assert exit_code([judged(row, folder, wrong)]) == 1


def readme_table() -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.split(BEGIN)[1].split(END)[0]


def test_readme_and_report_hold_every_reference_of_the_suite() -> None:
    lines = {line.split("|")[1].strip(): line for line in readme_table().splitlines() if "|" in line}
    report = (ROOT / "results" / "quickstart.md").read_text(encoding="utf-8")
    for row in SUITE.rows:
        cells = [cell.strip() for cell in lines[row.name].split("|")]
        assert cells[2] == number(row.reference.top1)
        assert cells[5] == signed(row.reference.gain)
        section = report.split(f"## Table {row.table}\n")[1].split("\n## ")[0]
        line = next(text for text in section.splitlines() if text.startswith(f"| {row.student}"))
        assert all(f" {cell} " in line for cell in cells[3:5])


def test_readme_shows_no_other_rows_than_the_suite() -> None:
    shown = [line.split("|")[1].strip() for line in readme_table().splitlines() if line.startswith("| ")]
    assert shown[1:] == [row.name for row in SUITE.rows]
