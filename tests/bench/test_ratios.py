"""Both sides compute the same, on a few images; the script says what it was asked for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from kdbench import catalog
from kdbench.device import Device
from kdbench.models.output import Output
from kdbench.spec.runs import Loss, Run
from kdbench.training.distillers.crd import Contrastive
from kdbench.training.distillers.distiller import Setting
from kdbench.training.objective import loss_function
from tests.bench import ratios, reference_distillers, reference_step, sides
from tests.support.build import make_run
from tests.support.devices import DEVICES
from tests.support.distillers import SETTINGS, built, output, step

KD = Loss("kd_released", {"alpha": 0.95, "tau": 20.0})
REG = Loss("tfkd_reg_released", {"alpha": 0.1, "tau": 20.0, "a": 0.99, "multiplier": 100.0})
SELF = Loss("tfkd_self_released", {"alpha": 0.9, "tau": 20.0, "multiplier": 50.0})


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("loss", "usual"),
    [(KD, reference_step.kd_loss), (SELF, reference_step.kd_loss), (REG, reference_step.reg_loss)],
    ids=["kd", "self", "reg"],
)
def test_usual_loss_is_kdbenchs(loss: Loss, usual: Callable[[Run], reference_step.Loss]) -> None:
    entry = catalog.find("losses", loss.name)
    z, taught, y = draw(6, 100), draw(7, 100)[:6], torch.arange(6)
    more = [Output(taught, taught)] if entry.teacher else []
    ours = catalog.load(entry.code)(Output(z, z), y, *more, **loss.params)
    assert float(usual(make_run(loss=loss))(z, y, taught)) == pytest.approx(float(ours), rel=1e-5)


def test_usual_at_and_kd_are_kdbenchs() -> None:
    s, t, y = output(0, 4), output(1, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    for loss in Loss("hinton_kd", {"alpha": 0.9, "tau": 4.0}), Loss("at", {"beta": 1000.0}):
        objective = built("at") if loss.name == "at" else loss_function(loss)
        expected = objective(s, y, t, step()) if loss.name == "at" else objective(s, y, t)
        beta = {"beta": SETTINGS["at"]["beta"]} if loss.name == "at" else loss.params
        found = reference_distillers.loss_of(make_run(loss=replace(loss, params=beta)), None)(s, y, t, y)
        assert float(found) == pytest.approx(float(expected), rel=1e-9)


def test_usual_crd_has_kdbenchs_losses_and_memory() -> None:
    """Two steps, the second one on memories that the first one has changed."""
    setting = Setting(output(0, 4, 1), output(0, 5, 1), torch.arange(40) % 10, 10)
    ours = Contrastive(setting, beta=0.8, dim=8, negatives=6, T=0.07, momentum=0.5).double()
    usual = reference_distillers.Memory((4, 5), 40, dim=8, T=0.07, momentum=0.5).double()
    state = ours.state_dict()
    usual.student_memory, usual.teacher_memory = state.pop("memory").clone()
    usual.load_state_dict({**usual.state_dict(), **state})
    for seed in range(2):
        columns = torch.stack([torch.randperm(40, generator=draws(10 * seed + n))[:7] for n in range(6)])
        columns[:, 0] = torch.arange(6)
        f, f_t = output(seed, 4).features, output(seed + 5, 5).features
        expected, found = ours.contrast(f, f_t, columns), usual(f, f_t, columns)
        ours.write()
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
        memory = torch.stack([usual.student_memory, usual.teacher_memory])
        assert torch.allclose(memory, ours.memory, rtol=1e-9)


def test_an_image_is_compared_with_images_of_other_classes() -> None:
    pictures = reference_step.Pictures(
        torch.zeros(9, 3, 4, 4, dtype=torch.uint8), torch.arange(9) % 3, lambda _: torch.zeros(1)
    )
    _, label, compared = reference_distillers.Compared(pictures, 4)[5]
    assert (label, int(compared[0]), len(set(compared.tolist()))) == (2, 5, 5)
    assert not any(image % 3 == 2 for image in compared[1:].tolist())


def test_usual_network_has_the_same_weights_in_the_usual_format() -> None:
    network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    (weight, _) = network.requires_grad_(requires_grad=False).parameters()
    (copy, _) = reference_step.usual(network).parameters()
    assert torch.equal(copy, weight)
    assert (weight.is_contiguous(), copy.is_contiguous(), copy.requires_grad) == (False, True, True)


def test_usual_views_are_normalised_pictures() -> None:
    images = torch.full((4, 3, 32, 32), 255, dtype=torch.uint8)
    run = replace(make_run(), recipe=replace(make_run().recipe, batch_size=3, crop=0, rotation=0.0))
    batches = list(reference_step.training_loader(run, images, torch.arange(4)))
    assert sorted(label for _, y in batches for label in y.tolist()) == [0, 1, 2, 3]
    entry = catalog.find("datasets", "cifar100")
    assert batches[0][0][0, 0, 5, 5].item() == pytest.approx((1 - entry.mean[0]) / entry.std[0], rel=1e-5)


def test_mean_square_is_that_of_all_pixels() -> None:
    assert sides.mean_square(iter([torch.ones(3), torch.full((1,), 3.0)])) == 3.0


def test_cases_are_those_of_the_table() -> None:
    assert {case.name: case.at_least for case in ratios.CASES} == {
        "views": 15,
        "step_mobilenetv2": 1.3,
        "step_shufflenetv2": 1.2,
        "cohort_mobilenetv2": 1.7,
        "cohort_shufflenetv2": 1.7,
        "cached_mobilenetv2": 2.4,
        "cached_shufflenetv2": 2.2,
        "eval_resnet18": 1.2,
        "eval_mobilenetv2": 2.5,
        "epoch": 2.0,
    }


def test_cases_of_distillers_are_rows_of_crds_table() -> None:
    for case in ratios.DISTILLER_CASES:
        (run,) = ratios.runs_of(case)
        assert (case.at_least, run.student, run.recipe.batch_size) == (1.3, "resnet20", 64)
    assert [case.name for case in ratios.DISTILLER_CASES] == ["kd_resnet", "at", "crd"]


def test_cases_against_the_plain_loop_are_epochs_of_single_runs_a_cohort_and_kept_logits() -> None:
    assert {case.name: case.at_least for case in ratios.PLAIN_CASES} == {
        "plain_resnet20": 1.0,
        "plain_kd_resnet20": 1.0,
        "plain_shufflenetv2": 1.0,
        "plain_kd_shufflenetv2": 1.0,
        "plain_mobilenetv2": 1.0,
        "plain_kd_mobilenetv2": 1.0,
        "plain_cohort": 1.6,
        "plain_cached": 1.7,
    }
    for case in ratios.PLAIN_CASES:
        runs = ratios.runs_of(case)
        assert len(runs) == case.rows
        assert {run.recipe.images(50_000) for run in runs} == {1280}


def test_cases_of_a_gpu_are_whole_epochs_in_the_precision_of_their_name() -> None:
    assert {case.name: case.at_least for case in ratios.GPU_CASES} == {
        "row_resnet18_tf32": 4,
        "row_mobilenetv2_tf32": 4,
        "row_shufflenetv2_tf32": 4,
        "row_resnet18_bf16": 8,
        "row_mobilenetv2_bf16": 8,
        "row_shufflenetv2_bf16": 8,
    }
    for case in ratios.GPU_CASES:
        (run,) = ratios.runs_of(case)
        assert (run.recipe.train_size, run.recipe.test_size, run.recipe.epochs) == (0, 0, 1)
        assert case.name.split("_")[1:] == [run.student, run.precision]


def test_rows_of_a_cohort_are_one_cohort() -> None:
    from kdbench.plan.cohorts import make_cohorts

    runs = ratios.runs_of(next(case for case in ratios.CASES if case.name == "epoch"))
    assert len({run.id for run in runs}) == 4
    assert len(make_cohorts(runs)) == 1
    assert {run.recipe.train_size for run in runs} == {5000}


class Clock:
    """A side whose seconds are known."""

    def __init__(self, value: float, *seconds: float) -> None:
        self.value, self.read = value, iter(seconds)

    def ready(self, _: ratios.Case) -> float:
        """The value that both sides must agree in."""
        return self.value

    def seconds(self) -> float:
        """The next of its seconds."""
        return next(self.read)


def compare(usual: Clock, ours: Clock, rounds: int = 3) -> ratios.Ratio:
    case = ratios.Case("step", 1.3, "step", "", rows=4)
    return ratios.compare(case, rounds, usual, ours)  # type: ignore[arg-type]


def test_ratio_is_the_median_of_the_rounds_per_row() -> None:
    ratio = compare(Clock(1.0, 1.0, 2.0, 3.0), Clock(1.0, 1.0, 1.0, 2.0))
    assert ratio == ratios.Ratio("step", 6.0, 4.0, 8.0, 3)


def test_sides_that_compute_something_else_are_not_compared() -> None:
    with pytest.raises(AssertionError, match=r"the usual way gives 1\.0, kdbench 1\.1"):
        compare(Clock(1.0), Clock(1.1))


@pytest.mark.parametrize(("ratio", "code"), [(15.0, 0), (14.9, 1)])
def test_missed_bar_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ratio: float, code: int
) -> None:
    monkeypatch.setattr(ratios, "Side", lambda *_, **__: pytest.MonkeyPatch())
    monkeypatch.setattr(pytest.MonkeyPatch, "stop", lambda _: None, raising=False)
    monkeypatch.setattr(ratios, "compare", lambda case, *_: ratios.Ratio(case.name, ratio, 1, 99, 5))
    assert ratios.main(["views", "--json"]) == code
    read = json.loads(capsys.readouterr().out)
    assert read == [{"name": "views", "ratio": ratio, "min": 1, "max": 99, "rounds": 5}]


def test_ratios_are_kept_beside_those_measured_before(tmp_path: Path) -> None:
    device = Device("A processor", 1)
    for names in (["epoch", "views"], ["views", "step_shufflenetv2"]):
        found = [ratios.Ratio(name, len(names[0]), 1, 2, 5) for name in names]
        path = ratios.keep(found, tmp_path, device)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["device"] == {"name": "A processor", "threads": 1}
    assert [each["name"] for each in read["ratios"]] == ["views", "step_shufflenetv2", "epoch"]


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.usefixtures("real_cifar100")
def test_both_sides_of_a_step_give_the_same_loss() -> None:
    case = next(case for case in ratios.CASES if case.name == "step_shufflenetv2")
    with ratios.both() as (usual, ours):
        assert ratios.compare(case._replace(batch_size=4), 1, usual, ours).ratio > 0


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.usefixtures("real_cifar100")
@pytest.mark.parametrize("device", DEVICES)
def test_both_sides_of_a_row_train_an_epoch_and_evaluate(device: str) -> None:
    """So few steps in orders that differ leave losses that are alike, not equal."""
    case = ratios.GPU_CASES[2]._replace(images=256, batch_size=32, precision="float32", alike=0.5)
    with ratios.both(device) as (usual, ours):
        assert ratios.compare(case, 1, usual, ours).ratio > 0
