"""What holds of every distiller: its gradient, its place in a run; and each one's identities."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.models.output import Network, Output
from kdbench.spec.events import Task
from kdbench.spec.results import Result
from kdbench.spec.runs import Loss, Run
from kdbench.store.weights import checkpoints
from kdbench.training.distillers.fitnet import resizing
from kdbench.training.losses import ce
from kdbench.training.losses_logits import hinton_kd
from kdbench.training.probe import probe
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from tests.support.distillers import CLASSES, LOSSES, SETTINGS, built, output, step
from tests.support.marks import slow_but
from tests.support.training import TEACHER, Interrupted, Opened, digits, numbers, together

pytestmark = pytest.mark.usefixtures("digits_dropout")
NAMES = list(SETTINGS)
Y = torch.arange(6) % CLASSES


def taught(loss: Loss, **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    return digits("digits_cnn", loss, TEACHER, lr=0.01, **settings)


def by_inputs(s: Output) -> tuple[list[Tensor], Output]:
    leaves = [each.clone().requires_grad_() for each in (s.logits, s.features, *s.maps)]
    z, f, *maps = leaves
    return leaves, s._replace(logits=z, features=f, maps=tuple(maps))


def test_every_distiller_is_tried_here() -> None:
    assert set(SETTINGS) == set(catalog.DISTILLERS)
    assert all(set(SETTINGS[name]) == set(catalog.DISTILLERS[name].ranges) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_value(name: str) -> None:
    """By finite differences, along one direction of all that the student puts out."""
    leaves, s = by_inputs(output(2, 4))
    t, begun = output(3, 5), built(name)
    begun(s, Y, t, step())  # what the first batch sets, as CRD's Z, is a constant of all others
    state = {key: value.clone() for key, value in begun.state_dict().items()}

    def value(moved: Output) -> Tensor:
        distiller = built(name)
        distiller.load_state_dict(state)
        return distiller(moved, Y, t, step())  # type: ignore[no-any-return]

    slopes = torch.autograd.grad(value(s), leaves, materialize_grads=True)
    away = output(4, 4)
    along = [away.logits, away.features, *away.maps]
    h = 1e-6

    def at(h: float) -> Tensor:
        z, f, *maps = (leaf.detach() + h * each for leaf, each in zip(leaves, along, strict=True))
        return value(s._replace(logits=z, features=f, maps=tuple(maps)))

    measured = (at(h) - at(-h)) / (2 * h)
    exact = sum((slope * each).sum() for slope, each in zip(slopes, along, strict=True))
    torch.testing.assert_close(measured.detach(), torch.as_tensor(exact).detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_declared(name: str) -> None:
    """Kept logits serve where the catalog says so; maps are given to none that does not ask for them."""
    entry, (leaves, s), t = catalog.DISTILLERS[name], by_inputs(output(2, 4)), output(3, 5)
    if not entry.maps:
        s, t = s._replace(maps=()), t._replace(maps=())
    if entry.logits_only:
        t = t._replace(features=t.features.new_empty(0))
    value = built(name)(s, Y, t, step())
    slopes = torch.autograd.grad(value, leaves, allow_unused=True)
    assert (value.shape, value.dtype) == ((), torch.float64)
    assert any(slope is not None for slope in slopes[2:]) == entry.maps
    assert (slopes[1] is None) == (entry.maps or entry.logits_only)


@pytest.mark.parametrize("name", NAMES)
def test_loss_of_extreme_logits_and_its_gradient_are_finite(name: str) -> None:
    s, t = (each._replace(logits=1e4 * each.logits.float()) for each in (output(2, 4), output(3, 5)))
    logits = s.logits.requires_grad_()
    value = built(name)(s, Y, t, step())
    assert value.isfinite()
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_loss_depends_on_the_teacher(name: str) -> None:
    s = output(2, 4)
    one, other = (built(name)(s, Y, output(seed, 5), step()) for seed in (3, 5))
    assert one.item() != other.item()


@pytest.mark.parametrize("name", ["at", "sp", "nst", "rkd", "pkt"])
def test_student_that_gives_what_the_teacher_gives_has_nothing_to_learn(name: str) -> None:
    leaves, s = by_inputs(output(2, 4))
    same = output(2, 4)
    value = built(name, 4, 4)(s, Y, same, step())
    torch.testing.assert_close(value, ce(s, Y), rtol=0, atol=1e-5)
    slopes = torch.autograd.grad(value, leaves[1:], materialize_grads=True)
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-4


@pytest.mark.parametrize("name", ["at", "sp", "nst"])
def test_maps_of_the_teacher_may_be_of_any_scale(name: str) -> None:
    s, t = output(2, 4), output(3, 5)
    large = t._replace(maps=tuple(7 * each for each in t.maps))
    torch.testing.assert_close(built(name)(s, Y, large, step()), built(name)(s, Y, t, step()))


def test_distances_and_angles_do_not_know_scale_and_shift() -> None:
    s, t = output(2, 4), output(3, 5)
    moved = t._replace(features=3 * t.features + 2)
    torch.testing.assert_close(built("rkd")(s, Y, moved, step()), built("rkd")(s, Y, t, step()))


def test_dkd_of_equal_weights_at_the_class_is_kd_image_by_image() -> None:
    """KD = TCKD + (1 - p^t) NCKD (DKD, Eq. 5), with p^t of the class at τ."""
    s, t = output(2, 4), output(3, 5)
    for image in range(6):
        one, other = (each._replace(logits=each.logits[image : image + 1]) for each in (s, t))
        y = Y[image : image + 1]
        p_t = (other.logits / 4).softmax(dim=1)[0, y[0]]
        dkd = built("dkd")
        setattr(dkd, "beta", float(1 - p_t))  # noqa: B010 - of a module
        whole = hinton_kd(one, y, other, alpha=1, tau=4)
        torch.testing.assert_close(dkd(one, y, other, step(1, epoch=9)) - ce(one, y), whole)


@pytest.mark.parametrize(("epoch", "share"), [(1, 0.5), (2, 1.0), (7, 1.0)])
def test_dkd_rises_over_its_warmup(epoch: int, share: float) -> None:
    s, t = output(2, 4), output(3, 5)
    hard = ce(s, Y)
    whole = built("dkd")(s, Y, t, step(epoch=2)) - hard
    torch.testing.assert_close(built("dkd")(s, Y, t, step(epoch=epoch)) - hard, share * whole)


@pytest.mark.parametrize("name", ["dkd_ls", "ctkd_ls"])
def test_z_scores_do_not_know_the_teachers_scale(name: str) -> None:
    s, t = output(2, 4), output(3, 5)
    other = t._replace(logits=5 * t.logits - 1)
    torch.testing.assert_close(
        built(name)(s, Y, other, step()), built(name)(s, Y, t, step()), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(("side", "wanted"), [(8, 8), (8, 4), (4, 8), (8, 2), (7, 5)])
def test_hint_is_of_the_teachers_size(side: int, wanted: int) -> None:
    assert resizing(3, 5, side, wanted)(torch.zeros(2, 3, side, side)).shape == (2, 5, wanted, wanted)


def test_hint_of_four_times_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no hint from maps of 2 pixels to maps of 8"):
        resizing(3, 5, 2, 8)


def test_layer_that_no_network_has_is_a_mistake_of_the_user(with_teacher: Opened) -> None:
    run = taught(Loss("fitnet", {"beta": 1.0, "layer": 7.0}))
    with pytest.raises(UserError, match="fitnet does not fit these networks"):
        StudentRun(Task(run), with_teacher("here"))


@pytest.mark.parametrize("name", slow_but(["ctkd", "crd_kd"], NAMES))
def test_run_beside_another_that_was_interrupted_is_as_alone_bit_for_bit(
    with_teacher: Opened, name: str
) -> None:
    """Both, after their first of three epochs, in which the other one draws."""
    run, context = taught(Loss(name, SETTINGS[name])), with_teacher("beside")
    other = digits("digits_dropout", Loss("hinton_kd", {"alpha": 0.9, "tau": 4.0}), TEACHER)
    alone = train(run, with_teacher("alone"))
    assert len(set(alone.curve.train_loss)) == 3

    def stop(stopped: Run, _: object) -> None:
        if stopped is run:
            raise Interrupted

    with pytest.raises(Interrupted):
        together([other, run], context, watch=stop)
    assert len(checkpoints(context.machine.scratch / "checkpoints" / run.id)) == 1
    assert numbers(together([other, run], context)[run.id]) == numbers(alone)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_what_a_distiller_has_is_trained_and_in_the_checkpoint(with_teacher: Opened, loss: Loss) -> None:
    student_run = StudentRun(Task(taught(loss)), with_teacher("here"))
    student = sum(1 for _ in student_run.student.parameters())
    own = list(student_run.objective.parameters())
    assert len(student_run.optimizer.state) == student + len(own)
    assert bool(own) == (loss.name in ("ctkd", "ctkd_ls", "fitnet", "cc", "vid", "crd", "crd_kd"))
    keys = set(student_run.trained.state_dict())
    assert {key.partition(".")[0] for key in keys} == ({"model", "distiller"} if own else {"model"})
    assert isinstance(student_run.student, Network)
    assert student_run.student.gives_maps == catalog.DISTILLERS[loss.name].maps


def test_ghost_batches_are_given_to_distillers_with_their_maps(with_teacher: Opened) -> None:
    losses = [Loss(name, SETTINGS[name]) for name in ("cc", "fitnet", "at", "ctkd", "crd_kd")]
    ended = together([taught(loss, ghost_batches=2, epochs=1) for loss in losses], with_teacher("parts"))
    assert len(ended) == 5
    assert all(isinstance(end, Result) for end in ended.values())


def test_memory_of_another_package_and_parts_of_a_batch_do_not_go_together(
    with_teacher: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "package_of", lambda _, name: "theirs 1.0" if name == "crd" else "")
    run = taught(Loss("crd", SETTINGS["crd"]), ghost_batches=2)
    with pytest.raises(UserError, match="remove ghost_batches"):
        StudentRun(Task(run), with_teacher("here"))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_probe_of_a_distiller_is_repeatable_and_its_own(loss: Loss) -> None:
    found = probe(loss, "digits", 10)
    assert found == probe(loss, "digits", 10)
    assert found.gradient > 0
    if catalog.DISTILLERS[loss.name].maps:  # what it adds is not of the forms of a loss of logits
        assert (found.hard, found.term) == (None, "")


def test_probe_tells_feature_methods_apart() -> None:
    slopes = [probe(loss, "digits", 10).slope for loss in LOSSES if catalog.DISTILLERS[loss.name].maps]
    assert len(set(slopes)) == len(slopes) == 5
    assert len({len(slope) for slope in slopes}) == 1


def test_weight_of_zero_is_the_baseline() -> None:
    s, t = output(2, 4), output(3, 5)
    for name in ("at", "crd", "vid", "rkd"):
        distiller = built(name)
        setattr(distiller, "beta", 0.0)  # noqa: B010 - of a module
        torch.testing.assert_close(distiller(s, Y, t, step()), ce(s, Y))


def test_random_numbers_are_those_of_the_step() -> None:
    one, same = (step(epoch=2, number=3).generator() for _ in range(2))
    others = (step(epoch=2, number=4), step(epoch=3, number=3), replace_seed(1))
    first = torch.rand(4, generator=one)
    assert first.equal(torch.rand(4, generator=same))
    assert all(not first.equal(torch.rand(4, generator=each.generator())) for each in others)


def replace_seed(seed: int) -> Any:  # noqa: ANN401 - Step
    return step(epoch=2, number=3)._replace(seed=seed)
