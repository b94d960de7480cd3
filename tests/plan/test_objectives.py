"""The audit: what it must find by itself in Tf-KD's released losses, and the identities of its probe."""

from typing import Any

import pytest
from click.testing import CliRunner
from msgspec import json
from msgspec.structs import replace

from kdbench.cli import cli
from kdbench.errors import UserError
from kdbench.plan.controls import load_prober
from kdbench.plan.expand import expand
from kdbench.plan.objectives import Audit, Probed, audit_suite, classes, faint
from kdbench.plan.selection import Selection
from kdbench.report.audit import audit_lines
from kdbench.report.formats import render
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Variant
from kdbench.training.probe import probe
from kdbench.verdict.check import check_suite
from tests.support.places import SUITES
from tests.support.suites import shipped

TFKD = shipped("tfkd_cifar100")
FNKD = shipped("fnkd_cifar100")


def audited(variant: Variant = "released") -> dict[str, Audit]:
    return {each.row: each for each in audit_suite(TFKD, expand(TFKD, variant=variant), load_prober())}


def audits(name: str, rows: str) -> list[Audit]:
    """The audits of some rows of a suite, as printed."""
    suite = shipped(name)
    return audit_suite(suite, expand(suite, variant="printed", rows=rows), load_prober())


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
    assert "their gradients differ by 0.11 % of their size at most: 9.tfkd_reg/resnet18, 9.lsr" in report


def test_lines_have_one_objective_each() -> None:
    lines = audit_lines(list(RELEASED.values()))
    (line,) = [line for line in lines if line.startswith("tfkd_self_released (alpha 0.9, multiplier 100")]
    assert line.split()[7:10] == ["0.1", "360", "400"]


def test_command_gives_every_row_to_programs() -> None:
    done = CliRunner().invoke(cli, ["audit", str(SUITES / "tfkd_cifar100"), "--rows", "9.*", "--json"])
    ((_, rows),) = json.decode(done.stdout).items()
    found: dict[str, Any] = next(row for row in rows if row["row"] == "9.tfkd_reg/resnet18")
    assert (round(found["epsilon"], 3), found["same"]) == (0.1, ["9.lsr/resnet18"])
    assert "slope" not in found


def test_every_reading_of_an_open_formula_is_audited() -> None:
    """Eq. 9 of Tf-KD: 0.004 % and less of the gradient is all that the hand-made teacher teaches."""
    audit = audits("tfkd_imagenet", "11.tfkd_reg/resnet18_224")[0]
    assert [(each.name, bool(each.assumed)) for each in audit.readings] == [
        ("logits", True),
        ("probabilities", False),
        ("figure", False),
    ]
    assert audit.readings[0].loss == audit.loss
    assert all(0 < (each.share or 0.0) < 1e-4 for each in audit.readings)
    lines = "\n".join(audit_lines([audit]))
    assert "read as `figure`, tfkd_reg_probabilities (a 0.99, alpha 0.1, tau 20, tau_d 10)" in lines


def test_soft_term_below_one_percent_of_the_gradient_is_a_warning() -> None:
    found = audits("tfkd_imagenet", "8.*")
    [kd] = faint(found)
    assert kd.row == "8.kd/resnet18_224:densenet121_224"
    assert kd.share == pytest.approx(3.94e-5, rel=0.01)
    assert "warning: the soft term of kd (alpha 0.1, tau 20) is 0.0039" in "\n".join(audit_lines(found))
    squared = next(each for each in kd.readings if each.name == "tau-squared")
    assert squared.loss.name == "hinton_kd"
    assert squared.share == pytest.approx(400 * 3.94e-5, rel=0.01)


@pytest.mark.parametrize("suite", ["tfkd_cifar100", "tfkd_tinyimagenet", "tfkd_imagenet"])
def test_assumed_readings_are_what_is_trained_as_printed(suite: str) -> None:
    path = str(SUITES / f"{suite}.toml")
    printed = Selection(suites=(path,), variant="printed").load()[0][1]
    for name in ("logits", "printed") if suite == "tfkd_imagenet" else ("logits",):
        read = Selection(suites=(path,), variant="printed", formula=name).load()[0][1]
        assert [cell.ids for cell in read] == [cell.ids for cell in printed]


def test_reading_that_is_asked_for_is_trained() -> None:
    path = str(SUITES / "tfkd_cifar100.toml")
    chosen = Selection(suites=(path,), rows="9.tfkd_reg/*", variant="printed", formula="figure")
    losses = [cell.runs[0].loss for cell in chosen.load()[0][1]]
    assert {loss.name for loss in losses} == {"tfkd_reg_probabilities"}
    assert {loss.params["tau_d"] for loss in losses} == {10.0}


def test_reading_that_does_not_exist_is_refused_with_those_there_are() -> None:
    path = str(SUITES / "tfkd_cifar100.toml")
    with pytest.raises(
        UserError, match="no formula has a reading named 'x'; there are: logits, probabilities, figure"
    ):
        Selection(suites=(path,), formula="x").load()


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (Loss("dkd", {"alpha": 1, "beta": 8, "tau": 4, "warmup": 20}), "1 H(q, p) + 16 TCKD + 128 NCKD"),
        (
            Loss("dkd_ls", {"alpha": 9, "beta": 18, "tau": 2, "warmup": 20}),
            "1 H(q, p) + 36 TCKD of z-scores + 72 NCKD of z-scores",
        ),
        (Loss("dist", {"beta": 2, "gamma": 1, "tau": 4}), "1 H(q, p) + 32 d of classes + 16 d of images"),
        (Loss("kd_ls", {"alpha": 0.9, "multiplier": 10, "tau": 2}), "0.1 H(q, p) + 36 D_KL of z-scores"),
    ],
)
def test_parts_of_a_soft_term_have_the_weights_that_names_hide(loss: Loss, terms: str) -> None:
    """tau^2 of DKD and of DIST, after the warm-up; the weights of standardized logits."""
    found = probe(loss, "cifar100", 100)
    assert found.soft is None
    audit = Audit(row="r", loss=loss, hard=found.hard, soft=None, term="", times_printed=None, scale=None,
                  gradient=found.gradient, nats=None, epsilon=None, parts=found.parts)  # fmt: skip
    assert audit_lines([audit])[-1].endswith(f": {terms}")


def test_plain_kd_of_logit_standardization_is_not_the_recipe_of_its_number() -> None:
    [audit, *_] = audits("ls_cifar100", "1.kd/*")
    copied, command = audit.readings
    assert copied.loss == audit.loss == Loss("hinton_kd", {"alpha": 0.9, "tau": 4})
    assert command.loss == Loss("kd_weighted", {"alpha": 0.9, "multiplier": 10, "tau": 2})
    assert (copied.soft, command.soft) == pytest.approx((0.9 * 4**2, 9 * 2**2))


def test_code_that_divides_by_the_classes_is_named_with_what_pytorch_has_announced() -> None:
    lines = "\n".join(audit_lines(list(RELEASED.values())))
    assert "kd_released, tfkd_self_released, tfkd_reg_released: the authors' kl_div" in lines
    assert "PyTorch" not in "\n".join(audit_lines(list(PRINTED.values())))


@pytest.mark.parametrize(
    ("name", "weights", "T"), [("ctkd", (1, 1, 20), 15.6211716), ("ctkd_ls", (10, 2, 40), 31.2423431)]
)
def test_learned_temperature_is_audited_as_it_starts(
    name: str, weights: tuple[float, float, float], T: float
) -> None:
    m, T_0, R = weights
    found = probed(name, alpha=0.9, multiplier=m, T_0=T_0, R=R, curriculum=10)
    assert found.hard == pytest.approx(0.1)
    assert found.soft == pytest.approx(0.9 * m * T**2, rel=1e-6)
    assert found.term.endswith(", T as it starts")


def with_recipes(rows: str, **recipes: dict[str, float]) -> list[Audit]:
    """Rows of the quickstart, some with another recipe."""
    suite = shipped("quickstart")
    cells = []
    for cell in expand(suite, rows=rows):
        changed = recipes.get(cell.row.table, {})
        runs = tuple(replace(run, recipe=replace(run.recipe, **changed)) for run in cell.runs)
        cells.append(replace(cell, runs=runs))
    return audit_suite(suite, cells, load_prober())


def test_smoothing_of_the_recipe_is_part_of_the_objective() -> None:
    """Cross-entropy on labels smoothed by 0.1 is `lsr` at 0.1; KD keeps its weights."""
    found = with_recipes("*/digits_mlp*", baseline={"label_smoothing": 0.1}, kd={"label_smoothing": 0.2})
    baseline, lsr, kd, *_ = found
    assert (baseline.loss.name, lsr.loss.name, kd.loss.name) == ("ce", "lsr", "kd")
    assert baseline.epsilon == pytest.approx(0.1, abs=1e-9)
    assert baseline.same == (lsr.row,)
    assert classes(found)[0][0] == (baseline.row, lsr.row)
    assert kd.hard == pytest.approx(0.1)
    plain = with_recipes("kd/*")[0]
    assert (kd.hard, kd.soft, kd.term) == pytest.approx((plain.hard, plain.soft, plain.term))
    assert kd.gradient != plain.gradient
    assert "ce, labels smoothed by 0.1 " in "\n".join(audit_lines(found))


def test_one_loss_on_labels_of_two_smoothings_is_two_objectives() -> None:
    found = with_recipes("baseline/*", baseline={"label_smoothing": 0.1})
    assert probe(Loss("ce"), "digits", 10, 0.1).slope != probe(Loss("ce"), "digits", 10).slope
    assert [each.smoothing for each in found] == [0.1, 0.1]


def test_mixed_targets_are_said_in_one_line_and_keep_rows_apart() -> None:
    mixed = {"mixup": 0.2, "cutmix": 1.0}
    found = with_recipes("*/digits_mlp", lsr=mixed)
    (line,) = (line for line in audit_lines(found) if "mixed" in line)
    assert line.startswith("mixup 0.2, cutmix 1: images and targets of a batch are mixed before the loss")
    assert line.endswith("whose findings hold with q mixed: lsr/digits_mlp.")
    alike = with_recipes("*/digits_mlp", baseline={"label_smoothing": 0.1}, lsr=mixed)
    assert all("lsr/digits_mlp" not in each.same for each in alike)
