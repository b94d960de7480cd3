"""Deltas told apart: which runs that takes, and what each explains."""

from pathlib import Path

import pytest

from kdbench.evidence.attribute import Variants, attribute, variants
from kdbench.spec.results import Result
from kdbench.spec.suites import Suite
from kdbench.suite.load import load_suite
from tests.support.build import make_result
from tests.support.places import SUITES
from tests.support.project import SUITE, change, write_suite

ROW = "1.kd/digits_mlp:digits_cnn"
WARMUP = '[[delta]]\nat = "main.py"\nwhy = "warm-up"\nrecipe = { warmup_epochs = 1 }\n'
ALPHA = '[[delta]]\nat = "params.json"\nwhy = "alpha"\nwhere = { table = "1.kd" }\nparams = { alpha = 0.5 }\n'
MULTIPLIER = ALPHA.replace("alpha = 0.5", "multiplier = 50").replace("params.json", "more.json")
ELSEWHERE = '[[delta]]\nat = "else.py"\nwhy = "no number"\n'


def suite_of(folder: Path, *deltas: str, renamed: str = "kd_released") -> Suite:
    text = change(("kd_released", renamed), ("[[delta]]", "\n".join([*deltas, "[[delta]]"])), suite=SUITE)
    return load_suite(write_suite(folder, text))


def trained(found: Variants, loss: float, warmup: float, both: float = 0.0) -> dict[str, Result]:
    """Results of two seeds: 90 as printed; so much for the other loss, for warm-up, and for both together."""
    results = {}
    for cell in found.cells:
        for run in cell.runs:
            on = (run.loss.name != "kd", run.recipe.warmup_epochs > 0)
            value = 90 + run.seed / 10 + loss * on[0] + warmup * on[1] + both * all(on)
            results[run.id] = make_result(run, *[value] * 3)
    return results


def test_each_delta_is_switched_on_alone_and_off_alone(tmp_path: Path) -> None:
    found = variants(suite_of(tmp_path, WARMUP), ROW, [0])
    assert [switch.at for switch in found.switches] == ["main.py", "code.py:1"]
    warmup = found.switches[0]
    assert [cell.runs[0].recipe.warmup_epochs for cell in (warmup.alone, warmup.without)] == [1, 0]
    assert [cell.runs[0].loss.name for cell in (warmup.alone, warmup.without)] == ["kd", "kd_released"]


def test_delta_of_the_teacher_alone_is_switched_with_its_teacher(tmp_path: Path) -> None:
    teacher = '[[delta]]\nat = "main.py"\nwhy = "the best epoch"\nteacher = "best"\n'
    found = variants(suite_of(tmp_path, teacher), ROW, [0])
    epochs = [cell.runs[0].teacher.epoch for cell in found.cells[:2] if cell.runs[0].teacher]
    assert (epochs, found.switches[0].at) == ([3, "best"], "main.py")


def test_delta_that_changes_no_run_is_left_out(tmp_path: Path) -> None:
    found = variants(suite_of(tmp_path, ELSEWHERE), ROW, [0])
    assert [switch.at for switch in found.switches] == ["code.py:1"]


def test_parameters_of_a_renamed_loss_go_with_its_name(tmp_path: Path) -> None:
    text = SUITE.replace('id = "1.kd"\nloss = { name = "kd"', 'id = "1.kd"\nloss = { name = "tfkd_self"')
    renames = 'loss = { tfkd_self = "tfkd_self_released" }\nparams = { multiplier = 1 }'
    text = text.replace('loss = { kd = "kd_released" }', f"{renames}\n\n{MULTIPLIER}\n{ALPHA}")
    found = variants(load_suite(write_suite(tmp_path, text)), ROW, [0])
    assert [switch.at for switch in found.switches] == ["code.py:1; more.json", "params.json"]


def test_effects_that_add_up_explain_the_whole(tmp_path: Path) -> None:
    found = variants(suite_of(tmp_path, WARMUP), ROW, [0, 1])
    attributed = attribute(found, trained(found, loss=-1.0, warmup=0.25))
    assert [each.explains.points for each in attributed.explained] == pytest.approx([0.25, -1.0])
    assert attributed.total.points == pytest.approx(-0.75)
    assert attributed.rest.points == pytest.approx(0.0)
    assert attributed.explained[0].explains.interval == pytest.approx((0.25, 0.25))


def test_interaction_is_shared_by_the_two_effects(tmp_path: Path) -> None:
    found = variants(suite_of(tmp_path, WARMUP), ROW, [0, 1])
    attributed = attribute(found, trained(found, loss=-1.0, warmup=0.0, both=0.5))
    warmup = attributed.explained[0]
    effects = (warmup.alone.points, warmup.without.points, warmup.explains.points)
    assert effects == pytest.approx((0.0, 0.5, 0.25))
    assert attributed.rest.points == pytest.approx(0.0)


def test_effects_of_three_that_do_not_add_up_leave_a_rest(tmp_path: Path) -> None:
    found = variants(suite_of(tmp_path, WARMUP, ALPHA), ROW, [0])
    results = {}
    for cell in found.cells:
        for run in cell.runs:
            on = (run.loss.name != "kd") + (run.recipe.warmup_epochs > 0) + (run.loss.params["alpha"] == 0.5)
            results[run.id] = make_result(run, *[90.0 + (on == 3)] * 3)
    attributed = attribute(found, results)
    assert [each.explains.points for each in attributed.explained] == pytest.approx([0.5] * 3)
    assert attributed.rest.points == pytest.approx(-0.5)


def test_seeds_are_paired_and_what_is_missing_stays_empty(tmp_path: Path) -> None:
    found = variants(suite_of(tmp_path, WARMUP, ALPHA), ROW, [0, 1])
    results = trained(found, loss=-1.0, warmup=0.25)
    del results[found.switches[0].alone.ids[1]]
    attributed = attribute(found, results)
    assert [each.explains.n for each in attributed.explained] == [1, 2, 2]
    assert attributed.explained[0].explains.interval is None
    assert attributed.rest.n == 1


def test_nothing_is_said_without_results(tmp_path: Path) -> None:
    attributed = attribute(variants(suite_of(tmp_path, WARMUP), ROW, [0]), {})
    assert (attributed.total.points, attributed.printed, attributed.explained[0].alone.n) == (None, None, 0)


@pytest.mark.parametrize(
    "suite",
    [pytest.param("tfkd_cifar100", marks=pytest.mark.slow), "tfkd_cifar10", "fnkd_cifar100_coarse"],
)
def test_every_delta_of_the_papers_can_be_switched(suite: str) -> None:
    loaded = load_suite(SUITES / f"{suite}.toml")
    for row in loaded.rows:
        assert variants(loaded, row.name, [0]).stuck == ()
