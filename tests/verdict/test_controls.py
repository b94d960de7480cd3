"""Controls: what they are, that they cost no teacher's training, and when a teacher matters."""

import re
from collections.abc import Sequence
from math import hypot
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from kdbench import catalog
from kdbench.machine import load_machine
from kdbench.plan.controls import control_cells, load_prober, strength
from kdbench.plan.expand import expand, make_plan, weights_needed
from kdbench.report.controls import control_lines, controls_section
from kdbench.spec.events import Done, Event, Failed, Task
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Cell
from kdbench.spec.verdicts import Outcome
from kdbench.spec.weights import Imported
from kdbench.store.records import save_result
from kdbench.suite.load import load_suite
from kdbench.training.context import open_context
from kdbench.training.probe import probe
from kdbench.training.task import do
from kdbench.verdict.controls import Controlled, check_controls
from kdbench.verdict.sequential import InterimPlan
from tests.support.build import make_result
from tests.support.command import Command
from tests.support.project import make_project

ROW = "1.kd/digits_mlp:digits_cnn"
KD = Loss("kd", {"alpha": 0.9, "tau": 4.0})
FNKD = Loss("fnkd", {"lam": 3.0, "tau": 2.0})


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """The row of the small suite that has a teacher, as printed, with three seeds."""
    monkeypatch.chdir(tmp_path)
    return expand(load_suite(make_project(tmp_path)), variant="printed", rows=ROW, seeds=[0, 1, 2])[0]


def controls_of(cell: Cell) -> dict[str, Cell]:
    return control_cells([cell], load_prober())[0][1]


def test_controls_of_a_row_differ_from_it_in_the_loss_or_the_teacher(cell: Cell) -> None:
    found = controls_of(cell)
    assert list(found) == ["ce", "lsr", "uniform", "untrained"]
    for control in found.values():
        for run, own in zip(control.runs, cell.runs, strict=True):
            assert replace(run, loss=own.loss, teacher=own.teacher) == own


def test_row_without_a_teacher_has_no_controls(cell: Cell) -> None:
    assert (
        control_cells([replace(cell, runs=tuple(replace(run, teacher=None) for run in cell.runs))], probe)
        == []
    )


def test_untrained_teachers_are_not_trained(cell: Cell) -> None:
    runs = make_plan(controls_of(cell).values())
    assert {run.student for run in runs} == {"digits_mlp"}
    assert weights_needed(runs) == {}


def test_rows_that_differ_in_the_teacher_share_all_but_the_untrained_one(cell: Cell) -> None:
    other = tuple(
        replace(run, teacher=replace(run.teacher, run=replace(run.teacher.run, student="digits_mlp")))
        for run in cell.runs
        if run.teacher
    )
    one, two = controls_of(cell), controls_of(replace(cell, runs=other))
    assert [name for name in one if one[name].ids != two[name].ids] == ["untrained"]


@pytest.mark.parametrize("loss", [KD, Loss("kd_released", {"alpha": 0.95, "tau": 20.0}), FNKD])
def test_smoothing_is_as_strong_as_the_teacher(loss: Loss) -> None:
    """Of the same size, and the uniform part as large a share of it as the teacher's."""
    scale, epsilon = strength(loss, "cifar100", 100, probe)
    found, ce = probe(loss, "cifar100", 100), probe(Loss("ce"), "cifar100", 100)
    uniform = probe(Loss("lsr", {"epsilon": 1.0}), "cifar100", 100)
    assert scale == pytest.approx(found.gradient, rel=1e-3)
    assert epsilon is not None
    assert found.hard is not None
    soft = hypot(*(g - found.hard * p for g, p in zip(found.slope, ce.slope, strict=True)))
    k, h = epsilon * hypot(*uniform.slope), (1 - epsilon) * hypot(*ce.slope)
    assert k / (k + h) == pytest.approx(soft / (soft + found.hard * hypot(*ce.slope)), rel=1e-3)


def test_controls_without_a_teacher_have_gradients_of_the_rows_size(cell: Cell) -> None:
    found = controls_of(cell)
    sizes = [hypot(*probe(run.loss, "digits", 10).slope) for run in (cell.runs[0], found["lsr"].runs[0])]
    assert sizes[1] == pytest.approx(sizes[0], rel=1e-3)
    ce = hypot(*probe(found["ce"].runs[0].loss, "digits", 10).slope)
    assert ce == pytest.approx(sizes[0], rel=1e-3)


def test_smoothing_of_a_label_smoothing_is_itself() -> None:
    assert strength(Loss("lsr", {"epsilon": 0.3}), "cifar100", 100, probe)[1] == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("size", [8, 32])
def test_blank_network_teaches_uniform_targets(size: int) -> None:
    output = catalog.load(catalog.MODELS["blank"].code)(10, 3)(torch.rand(4, 3, size, size))
    assert torch.equal(output.logits.softmax(dim=1), torch.full((4, 10), 0.1))


def test_every_control_trains_without_its_teacher_and_by_another_target(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept logits of one untrained teacher are not those of another."""
    monkeypatch.setenv("KDBENCH_DATA", str(Path.cwd() / "data"))
    before = torch.get_deterministic_debug_mode()
    context = open_context(load_machine())
    received: list[Event] = []
    for control in controls_of(cell).values():
        run = control.runs[0]
        do([Task(replace(run, recipe=replace(run.recipe, epochs=1)), ())], context, received.append)
    torch.set_deterministic_debug_mode(before)
    assert not [event for event in received if isinstance(event, Failed)]
    losses = [event.result.curve.train_loss for event in received if isinstance(event, Done)]
    assert len(set(losses)) == 4


def test_rows_of_an_imported_teacher_have_controls_too(cell: Cell) -> None:
    imported = Imported(model="digits_cnn", sha256="0" * 64)
    runs = tuple(replace(run, teacher=None, imported=imported) for run in cell.runs)
    found = controls_of(replace(cell, runs=runs))
    assert found["untrained"].ids == controls_of(cell)["untrained"].ids
    assert all(run.imported is None for control in found.values() for run in control.runs)


def checked(
    cell: Cell, own: Sequence[float], *, plan: InterimPlan | None = None, **theirs: Sequence[float]
) -> Controlled:
    """The row with these values by seed, beside controls with these."""
    controls = controls_of(cell)
    pairs = [(cell, own), *((controls[name], values) for name, values in theirs.items())]
    results = {
        of: make_result(run, value, value)
        for each, values in pairs
        for of, run, value in zip(each.ids, each.runs, values, strict=False)
    }
    plans = dict.fromkeys(cell.ids, plan) if plan else {}
    return check_controls([(cell, controls)], results, plans)[0]


LOW, NOISE = [80.0, 80.2, 80.1], [80.1, 80.0, 80.2]


def test_teacher_matters_where_the_row_beats_every_control(cell: Cell) -> None:
    found = checked(cell, [82.0, 82.1, 82.2], ce=LOW, lsr=NOISE, uniform=LOW, untrained=[81.0, 81.1, 81.2])
    assert (found.outcome, found.best) == (Outcome.HOLDS, "untrained")
    assert found.gain == pytest.approx(1.0)


def test_controls_of_seeds_of_interim_analyses_are_tested_at_their_levels(cell: Cell) -> None:
    """A gain of 0.6, 0.4 and 0.9: p = 0.025."""
    values = dict.fromkeys(("ce", "lsr", "uniform", "untrained"), LOW)
    found = [checked(cell, [80.6, 80.6, 81.0], plan=plan, **values) for plan in (None, InterimPlan())]
    assert [each.outcome for each in found] == [Outcome.HOLDS, Outcome.UNDECIDED]


def test_teacher_does_not_matter_where_a_control_beats_the_row(cell: Cell) -> None:
    found = checked(cell, [82.0, 82.1, 82.2], ce=LOW, lsr=[83.0, 83.1, 83.3], uniform=LOW, untrained=LOW)
    assert (found.outcome, found.best) == (Outcome.FAILS, "lsr")


@pytest.mark.parametrize("uniform", [[82.0, 82.3, 82.1], []])
def test_teacher_is_undecided_where_a_control_is_as_good_or_missing(cell: Cell, uniform: list[float]) -> None:
    found = checked(cell, [82.0, 82.1, 82.2], ce=LOW, lsr=LOW, uniform=uniform, untrained=LOW)
    assert found.outcome is Outcome.UNDECIDED


def test_row_of_a_control_whose_result_is_damaged_is_unreadable_and_others_are_judged(
    kdbench: Command, cell: Cell
) -> None:
    """Of rows that share controls, those are unreadable that have the damaged one."""
    for of in (cell, *controls_of(cell).values()):
        for run in of.runs:
            path = save_result(Path("results"), make_result(run, 80.0, 80.0, 80.0 + run.seed))
    path.write_text('{"a"', encoding="utf-8")
    done = kdbench("check", "suites/small", "--as", "printed", "--seeds", "0-2", "--controls")
    assert (done.code, done.err) == (1, "")
    assert re.search(rf"{re.escape(ROW)} .* unreadable\n", done.out)
    assert f"{ROW}: {path}: no valid result" in done.out
    assert re.search(rf"{re.escape(ROW)} +92.00 +81.00", done.out), "the row itself is judged"
    page = kdbench(
        "report", "suites/small", "--as", "printed", "--seeds", "0-2", "--controls", "--format", "html"
    )
    assert (page.code, path.name in page.out) == (0, True)


def test_section_and_lines_say_the_gain_over_the_best_control(cell: Cell) -> None:
    found = checked(cell, [82.0, 82.1, 82.2], ce=LOW, lsr=LOW, uniform=LOW, untrained=[81.0, 81.1, 81.2])
    section = "\n".join(controls_section([found]))
    assert re.search(r"\| untrained +\| +\+1\.00 ± 0\.00 \| holds", section)
    assert "lsr_scaled (epsilon 0, scale" in section
    assert control_lines([found])[-1].split()[-1] == "holds"
    assert (list(controls_section([])), control_lines([])) == ([], [])
