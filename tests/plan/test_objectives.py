"""The audit: what it must find by itself in Tf-KD's released losses, and the identities of its probe."""

from typing import Any

import pytest
from click.testing import CliRunner
from msgspec import json

from kdbench.cli import cli
from kdbench.plan.controls import load_prober
from kdbench.plan.expand import expand
from kdbench.plan.objectives import Audit, Probed, audit_suite, classes
from kdbench.report.audit import audit_lines
from kdbench.report.formats import render
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Variant
from kdbench.suite.load import load_suite
from kdbench.training.probe import probe
from kdbench.verdict.check import check_suite
from tests.support.places import SUITES

TFKD = load_suite(SUITES / "tfkd_cifar100")
FNKD = load_suite(SUITES / "fnkd_cifar100")


def audited(variant: Variant = "released") -> dict[str, Audit]:
    return {each.row: each for each in audit_suite(TFKD, expand(TFKD, variant=variant), load_prober())}


RELEASED, PRINTED = audited(), audited("printed")


def probed(name: str, K: int = 100, **params: float) -> Probed:
    return probe(Loss(name, params), "cifar100", K)


@pytest.mark.parametrize(
    ("student", "epsilon", "scale", "nats"),
    [
        ("resnet18", 0.100, 1.0, 1.25e-5),
        ("googlenet", 0.053, 0.95, 3.08e-6),
        ("mobilenetv2", 0.160, 0.0595, 3.08e-6),
        ("shufflenetv2", 0.160, 0.0595, 5.18e-5),
    ],
)
def test_released_tfkd_reg_is_label_smoothing(
    student: str, epsilon: float, scale: float, nats: float
) -> None:
    found = RELEASED[f"9.tfkd_reg/{student}"]
    assert found.epsilon == pytest.approx(epsilon, abs=1e-3)
    assert found.scale == pytest.approx(scale, abs=1e-9)
    assert found.nats == pytest.approx(nats, rel=0.01)


def test_released_tfkd_reg_of_resnet18_is_the_objective_of_its_label_smoothing_row() -> None:
    """To 0.11 % of the gradient: epsilon is 0.09995, and 0.1 spread over 99 classes is 0.10101."""
    found = RELEASED["9.tfkd_reg/resnet18"]
    assert found.same == ("9.lsr/resnet18",)
    assert found.apart == pytest.approx(0.0011, abs=5e-5)
    ((rows, apart),) = classes(RELEASED.values())
    assert rows == ("9.tfkd_reg/resnet18", "9.lsr/resnet18")
    assert apart == pytest.approx(0.0011, abs=5e-5)


@pytest.mark.parametrize("student", ["googlenet", "mobilenetv2", "shufflenetv2"])
def test_other_tfkd_reg_rows_are_no_label_smoothing_of_the_same_strength(student: str) -> None:
    assert RELEASED[f"9.tfkd_reg/{student}"].same == ()


@pytest.mark.parametrize(
    ("row", "times"),
    [
        ("5.tfkd_self/mobilenetv2:self", 4),
        ("5.tfkd_self/resnet18:self", 18),
        ("5.tfkd_self/resnext29:self", 400),
        ("1.kd/mobilenetv2:resnet18", 4),
    ],
)
def test_released_soft_term_weighs_more_than_printed(row: str, times: float) -> None:
    assert RELEASED[row].times_printed == times


def test_printed_soft_terms_weigh_what_is_printed() -> None:
    assert {each.times_printed for each in PRINTED.values() if each.soft} == {1.0}


def test_printed_tfkd_reg_is_no_label_smoothing() -> None:
    found = PRINTED["9.tfkd_reg/resnet18"]
    assert (found.hard, found.soft, found.term) == (0.9, 0.1, "D_KL(p^d_τ, p_τ)")
    assert (found.epsilon, found.scale) == (None, None)


def test_printed_suite_has_no_two_names_for_one_objective() -> None:
    assert classes(PRINTED.values()) == []


def test_repeated_cells_have_the_same_objective_exactly() -> None:
    found = RELEASED["1.kd/mobilenetv2:resnet18"]
    assert found.same == ("5.kd/mobilenetv2:resnet18", "9.kd/mobilenetv2:resnet18")
    assert found.apart == 0


def test_plain_cross_entropy_is_itself() -> None:
    found = probed("ce")
    assert (found.hard, found.soft, found.term, found.scale, found.gradient) == (1, 0, "", 1, 1)
    assert (found.epsilon, found.nats) == (None, None)


@pytest.mark.parametrize("K", [10, 100])
def test_label_smoothing_is_found_at_its_epsilon(K: int) -> None:
    found = probed("lsr", K, epsilon=0.3)
    assert found.epsilon == pytest.approx(0.3, abs=1e-9)
    assert [found.hard, found.soft, found.nats] == pytest.approx([0.7, 0.3, 0])
    assert probed("lsr_released", K, epsilon=0.3).epsilon == pytest.approx(0.3 * K / (K - 1), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "params", "hard", "soft"),
    [
        ("kd", {"alpha": 0.7, "tau": 5}, 0.3, 0.7),
        ("kd_released", {"alpha": 0.7, "tau": 5}, 0.3, 0.7 * 25 / 100),
        ("fnkd_kd", {"alpha": 0.5, "T": 3}, 0.5, 0.5),
        ("fnkd_kd_released", {"alpha": 0.5, "T": 3}, 0.5, 4.5),
        ("fnkd", {"lam": 3, "tau": 2}, 1, 9),
        ("fnkd_released", {"lam": 3, "tau": 2}, 1, 9),
        ("tfkd_reg", {"alpha": 0.2, "tau": 20, "a": 0.9}, 0.8, 0.2),
        ("alsd", {"epsilon1": 0.1, "epsilon2": 0.2}, 0.7, 0.3),
    ],
)
def test_weights_are_those_of_the_formula(
    name: str, params: dict[str, float], hard: float, soft: float
) -> None:
    found = probe(Loss(name, params), "cifar100", 100)
    assert [found.hard, found.soft] == pytest.approx([hard, soft], abs=1e-9)


def test_released_fnkd_is_not_the_printed_one() -> None:
    assert probed("fnkd", lam=3, tau=2).term != probed("fnkd_released", lam=3, tau=2).term


def test_teacher_at_temperature_one_makes_a_fixed_target() -> None:
    assert probed("fnkd_kd", alpha=0.5, T=1).scale == pytest.approx(1)
    assert probed("fnkd_kd", alpha=0.5, T=1.5).scale is None


def test_hypersphere_embedding_is_of_no_form() -> None:
    found = probed("he", scale=16)
    assert (found.hard, found.soft, found.scale, found.epsilon) == (None, None, None, None)
    assert found.gradient > 0


def test_lsd_is_label_smoothing_by_another_name() -> None:
    assert probed("lsd", epsilon1=0.1).slope == probed("lsr", epsilon=0.1).slope


def test_as_released_fnkds_kd_weighs_nine_times_the_printed() -> None:
    found = {each.row: each for each in audit_suite(FNKD, expand(FNKD), load_prober())}
    assert found["kd/resnet20_v2:resnet56_v2"].times_printed == 9
    assert found["fnkd/resnet20_v2:resnet56_v2"].times_printed is None  # another term, not another weight


def test_report_has_the_audit_only_where_it_is_given() -> None:
    checks = check_suite(expand(TFKD, rows="9.*"), {})
    audits = [each for row, each in RELEASED.items() if row.startswith("9.")]
    assert "## Audit" not in render(TFKD, checks)
    report = render(TFKD, checks, audit=audits)
    assert "## Audit" in report
    assert "their gradients differ by 0.11% of their size at most: 9.tfkd_reg/resnet18, 9.lsr" in report


def test_lines_have_one_objective_each() -> None:
    lines = audit_lines(list(RELEASED.values()))
    (line,) = [line for line in lines if line.startswith("tfkd_self_released (alpha 0.9, multiplier 100")]
    assert line.split()[7:10] == ["0.1", "360", "400"]


def test_command_gives_every_row_to_programs() -> None:
    done = CliRunner().invoke(cli, ["audit", str(SUITES / "tfkd_cifar100"), "--rows", "9.*", "--json"])
    ((_, rows),) = json.decode(done.output).items()
    found: dict[str, Any] = next(row for row in rows if row["row"] == "9.tfkd_reg/resnet18")
    assert (round(found["epsilon"], 3), found["same"]) == (0.1, ["9.lsr/resnet18"])
    assert "slope" not in found
