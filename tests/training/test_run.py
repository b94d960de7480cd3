"""The loop on 8x8 digits: the same numbers however often, in whatever company, interrupted or not."""

from functools import partial
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch.nn.functional import cross_entropy

from kdbench import catalog
from kdbench.errors import DivergedError, UserError
from kdbench.spec.results import Curve, Result
from kdbench.spec.runs import Recipe, Run, Teacher
from kdbench.store.files import digest
from kdbench.store.records import facts, load_result, save_result
from kdbench.store.weights import weights_file, weights_there
from kdbench.training import memory
from kdbench.training.context import TrainingContext
from kdbench.training.images import training_views, validation_images
from kdbench.training.losses import kd
from kdbench.training.run import train
from kdbench.training.student_run import StudentRun
from tests.support.build import CE, KD
from tests.support.marks import slow_but
from tests.support.training import (
    SETTINGS,
    Interrupted,
    Opened,
    interrupted,
    network_left,
    numbers,
    open_digits,
)
from tests.support.training import digits as run_on_digits

RECIPE = Recipe(
    epochs=3, batch_size=32, lr=0.05, momentum=0.9, weight_decay=5e-4, crop=1, flip=True, rotation=10.0,
    train_size=100, test_size=200,
)  # fmt: skip


digits = partial(run_on_digits, recipe=RECIPE)


def taught(teacher: Run, epoch: Any, **settings: Any) -> Run:  # noqa: ANN401 - a Teacher's epoch, recipe fields
    return replace(digits(**settings), loss=KD, teacher=Teacher(teacher, epoch))


def test_run_learns(context: TrainingContext) -> None:
    result = train(digits(epochs=10, train_size=400, crop=0, flip=False, rotation=0.0), context)
    assert result.last > 80
    assert result.curve.train_loss[-1] < result.curve.train_loss[0] / 2


def test_memory_is_given_back_before_runs_of_another_kind_alone(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(memory, "reset_peak", lambda _, *, give_back: given_back.append(give_back))
    for run in digits(seed=0, epochs=1), digits(seed=1, epochs=1), digits("digits_cnn", epochs=1):
        train(run, context)
    assert given_back == [True, False, True]


def test_accuracy_is_that_of_the_kept_weights_on_plain_images(context: TrainingContext) -> None:
    """With the statistics gathered in training, not those of a batch."""
    run, entry, data = digits("digits_cnn"), catalog.DATASETS["digits"], context.data.named("digits")
    curve = train(run, context).curve
    x, y = (data.test_images[:200] / 255 - entry.mean[0]) / entry.std[0], data.test_labels[:200]
    with torch.no_grad():
        logits = network_left(context, run, 3)(x).logits
    assert curve.top1[-1] == 100 * int((logits.argmax(dim=1) == y).sum()) / 200
    assert curve.test_loss[-1] == pytest.approx(cross_entropy(logits, y).item(), rel=1e-5)


def test_first_loss_is_that_of_the_untrained_student(context: TrainingContext) -> None:
    """One step with all images: the student as it starts, the teacher as it ended, the epoch's views."""
    teacher = digits("digits_cnn", epochs=1)
    train(teacher, context)
    run = taught(teacher, 1, batch_size=100, epochs=1)
    ((x, y, _),) = training_views(run, context.data.named("digits"), context).epoch(1)
    wanted = kd(context.network(run)(x), y, network_left(context, teacher, 1)(x), alpha=0.95, tau=20.0)
    assert train(run, context).curve.train_loss[0] == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize("optimizer", slow_but(["adam"], ["sgd", "adam"]))
def test_run_repeated_is_the_same_bit_for_bit(opened: Opened, optimizer: str) -> None:
    run = digits("digits_cnn", optimizer=optimizer, epochs=2)
    assert numbers(train(run, opened("one"))) == numbers(train(run, opened("two")))


def test_run_of_another_seed_differs(context: TrainingContext) -> None:
    one, other = (train(digits(seed=seed, epochs=1), context) for seed in (0, 1))
    assert set(one.curve.train_loss).isdisjoint(other.curve.train_loss)


@pytest.mark.parametrize("optimizer", slow_but(["adam"], ["sgd", "adam"]))
def test_resumed_run_is_as_never_interrupted(opened: Opened, optimizer: str) -> None:
    run = digits("digits_cnn", optimizer=optimizer, milestones=(2,), gamma=0.1)
    whole = numbers(train(run, opened("whole"), keep=(1,)))
    for epoch in (1, 3):
        halved = interrupted(run, opened(f"stopped after epoch {epoch}"), epoch, keep=(1,))
        assert numbers(train(run, halved, keep=(1,))) == whole, f"stopped after epoch {epoch}"


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The run of the recipe without any setting."""
    return train(digits(epochs=2), open_digits(tmp_path_factory.mktemp("plain"), data))


@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_run_is_as_never_interrupted_with_each_setting(
    opened: Opened, plain: Result, name: str
) -> None:
    """Which does something: the numbers are not those of the recipe without it."""
    run = digits(**{"epochs": 2, **SETTINGS[name]})
    whole = train(run, opened("whole"))
    assert numbers(train(run, interrupted(run, opened("halved"), 1))) == numbers(whole)
    assert numbers(plain) != numbers(whole)


def test_accuracy_on_held_out_images_is_that_of_the_kept_weights(context: TrainingContext) -> None:
    run = digits("digits_cnn", validation_size=30)
    result = train(run, context)
    data, held = context.data.named("digits"), validation_images(run, 400)
    network = network_left(context, run, 3)
    images = data.train_images[held].float().div(255).sub(0.2878).div(0.3535)
    right = (network(images).logits.argmax(dim=1) == data.train_labels[held]).sum()
    assert result.curve.validation_top1[-1] == pytest.approx(100 * int(right) / 30)
    assert len(result.curve.validation_top1) == 3
    assert load_result(save_result(context.machine.results, result)).curve == result.curve
    assert "validation_top1" not in save_result(context.machine.results, train(digits(), context)).read_text(
        "utf-8"
    )


def test_run_with_held_out_images_after_one_without_is_as_alone(
    opened: Opened,
) -> None:
    """Images stay padded from run to run: these are others."""
    held_out = [digits(validation_size=30, validation_seed=number) for number in (0, 1)]
    context, runs = opened("company"), [digits(), *held_out]
    alone = [numbers(train(run, opened(f"alone {run.id}"))) for run in runs]
    assert [numbers(train(run, context)) for run in runs] == alone


def test_resumed_run_says_who_trained_which_epochs(
    context: TrainingContext, request: pytest.FixtureRequest
) -> None:
    before, run = torch.get_num_threads(), digits()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    torch.set_num_threads(1)
    interrupted(run, context, 2)
    torch.set_num_threads(2)
    result = load_result(save_result(context.machine.results, train(run, context)))
    first, second = result.segments
    assert (first.first_epoch, first.last_epoch, first.environment["threads"]) == (1, 2, 1)
    assert (second.first_epoch, second.last_epoch, second.environment["threads"]) == (3, 3, 2)
    assert result.environment["threads"] == 2
    assert {"kdbench", "commit", "torch", "device", "deterministic", "cohort"} <= first.environment.keys()
    assert facts([result])["threads"] == "1, 2"
    assert facts([result], most=1)["threads"] == "1 and 1 more"


def test_resumed_run_does_not_train_what_it_has(context: TrainingContext) -> None:
    seen: list[int] = []
    run = digits()
    train(run, interrupted(run, context, 2), watch=lambda progress: seen.append(progress.epoch))
    assert seen == [3]


def test_run_interrupted_within_an_epoch_is_as_never_interrupted(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the second epoch has already changed is lost: the run goes back to the end of the first."""
    run, halved = digits("digits_cnn"), opened("halved")
    whole = train(run, opened("whole"))
    calls, step = count(1), StudentRun.step

    def stop(*arguments: Any) -> None:  # noqa: ANN401 - those of a step
        step(*arguments)
        if next(calls) == 6:
            raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(StudentRun, "step", stop)
        with pytest.raises(Interrupted):
            train(run, halved)
    assert numbers(train(run, halved)) == numbers(whole)


def test_resumed_run_keeps_weights_that_were_not_wanted_before(
    opened: Opened,
) -> None:
    run = digits()
    context = interrupted(run, opened("halved"), 2)
    assert numbers(train(run, context, keep=(1,))) == numbers(train(run, opened("whole"), keep=(1,)))


@pytest.mark.usefixtures("digits_dropout")
def test_dropout_is_the_same_in_a_resumed_run(opened: Opened) -> None:
    run = digits("digits_dropout")
    whole = numbers(train(run, opened("whole")))
    assert numbers(train(run, interrupted(run, opened("halved"), 1))) == whole
    assert numbers(train(replace(run, seed=1), opened("other"))) != whole


def test_run_after_another_one_is_as_alone(opened: Opened) -> None:
    context = opened("company")
    train(digits("digits_cnn", seed=5, epochs=1), context)
    assert numbers(train(digits(), context)) == numbers(train(digits(), opened("alone")))


def test_student_is_taught_the_same_in_any_company(opened: Opened) -> None:
    """The teacher is made and asked before each step; it takes nothing from the student's randomness."""
    run = digits("digits_cnn", epochs=1)
    results = []
    for name in ("one", "two"):
        context = opened(name)
        train(run, context)
        results.append(train(taught(run, "best"), context))
        train(digits(seed=9, epochs=1), context)
    assert numbers(results[0]) == numbers(results[1])


@pytest.mark.parametrize(
    ("keep", "names"),
    [((), {"best", "3"}), ((1,), {"best", "1", "3"}), (("best", 2, 3), {"best", "2", "3"})],
)
def test_kept_weights_are_the_last_the_best_and_the_wanted(
    context: TrainingContext, keep: tuple[int | str, ...], names: set[str]
) -> None:
    run = digits()
    result = train(run, context, keep=keep)
    files = {path.name for path in (context.machine.scratch / "weights" / run.id).iterdir()}
    assert result.weights.keys() == names
    assert files == {f"{name}.{sha}.safetensors" for name, sha in result.weights.items()}


def test_best_weights_are_those_of_the_best_epoch(opened: Opened) -> None:
    run, context = digits(lr=2.0, epochs=4), opened("here")
    result = train(run, context, keep=(1, 2, 3, 4))
    assert result.best_epoch < 4
    assert result.weights["best"] == result.weights[str(result.best_epoch)]


def test_weights_have_the_digest_of_their_name_and_change_with_every_epoch(context: TrainingContext) -> None:
    run = digits()
    result = train(run, context, keep=(1, 2))
    for name, sha in result.weights.items():
        path = weights_file(context.machine.scratch, run.id, name)
        assert path is not None
        assert digest(path) == sha
    assert len({result.weights[name] for name in "123"}) == 3


def test_first_step_that_is_not_finite_is_named_and_no_weights_are_left(context: TrainingContext) -> None:
    """At this rate the first step leaves nothing that the second could be computed from."""
    run = digits(lr=1e30)
    with pytest.raises(DivergedError, match=r"diverged at epoch 1, step 2: the loss is (nan|inf)"):
        train(run, context)
    assert weights_file(context.machine.scratch, run.id, "best") is None


def test_run_that_diverges_in_its_last_step_is_no_result(context: TrainingContext) -> None:
    """Its training loss is finite; a test loss of nan could not be stored."""
    with pytest.raises(DivergedError, match="diverged at epoch 1, in its last step: the test loss is"):
        train(digits(lr=1e30, epochs=1, batch_size=100), context)


def test_teacher_has_the_weights_of_the_named_epoch(context: TrainingContext) -> None:
    run = digits("digits_cnn")
    train(run, context, keep=(1,))
    for epoch in (1, 3):
        teacher = context.teacher(replace(run, teacher=Teacher(run, epoch)))
        assert teacher is not None
        kept = network_left(context, run, epoch).state_dict()
        assert all(value.equal(kept[name]) for name, value in teacher.state_dict().items())
    first, last = (network_left(context, run, epoch).state_dict() for epoch in (1, 3))
    assert not first["classifier.weight"].equal(last["classifier.weight"])


def test_student_depends_on_its_teachers_epoch(context: TrainingContext) -> None:
    run = digits("digits_cnn")
    train(run, context, keep=(1,))
    early, late = (train(taught(run, epoch), context) for epoch in (1, 3))
    assert set(early.curve.train_loss).isdisjoint(late.curve.train_loss)


def test_student_of_a_teacher_without_weights_names_the_run(context: TrainingContext) -> None:
    run = digits("digits_cnn")
    with pytest.raises(UserError, match=rf"weights of digits_cnn-ce \(run {run.id}, epoch 3\) are not in"):
        train(taught(run, 3), context)


def test_student_of_a_damaged_teacher_is_refused(context: TrainingContext) -> None:
    """The damaged file goes, or the next plan would count it and never train the teacher."""
    run = digits("digits_cnn")
    train(run, context)
    path = weights_file(context.machine.scratch, run.id, 3)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="or were damaged"):
        train(taught(run, 3), context)
    assert not weights_there(context.machine.scratch, run.id, [3])
    assert weights_there(context.machine.scratch, run.id, ["best"])


def test_result_is_what_the_curve_says_epoch_by_epoch(context: TrainingContext) -> None:
    run = digits()
    seen: list[Curve] = []
    result = train(run, context, watch=lambda progress: seen.append(progress.curve))
    curve = result.curve
    assert [len(each.top1) for each in seen] == [1, 2, 3]
    assert seen[-1] == curve
    assert (result.id, result.run) == (run.id, run)
    assert (result.last, result.best) == (curve.top1[-1], max(curve.top1))
    assert result.seconds == pytest.approx(sum(curve.seconds), abs=1e-3)
    assert result.peak_memory > 50_000_000
    assert result.segments == (), "one process trained it"
    assert load_result(save_result(context.machine.results, result)) == result


def test_accuracy_is_a_share_of_the_test_images(context: TrainingContext) -> None:
    curve = train(digits(test_size=8, epochs=2), context).curve
    assert all((top1 * 8 / 100).is_integer() for top1 in curve.top1)


def test_result_names_what_its_number_depends_on(context: TrainingContext) -> None:
    run = digits("digits_cnn", epochs=1)
    sha = train(run, context).weights["best"]
    environment = train(taught(run, "best", epochs=1), context).environment
    assert environment["teacher"] == sha
    assert (environment["device"], environment["threads"], environment["deterministic"]) == ("cpu", 1, True)
    assert environment["data"] == context.data.named("digits").content


ALONE = [name for name, entry in catalog.LOSSES.items() if not (entry.teacher or entry.neighbours)]


@pytest.mark.parametrize("name", ALONE)
def test_every_loss_without_a_teacher_trains(context: TrainingContext, name: str) -> None:
    params = {"alpha": 0.1, "tau": 20.0, "a": 0.99, "epsilon": 0.1, "multiplier": 1.0}
    params |= {"epsilon1": 0.1, "scale": 8.0, "beta": 0.1, "tau_d": 10.0}
    loss = replace(CE, name=name, params={key: params[key] for key in catalog.LOSSES[name].params})
    result = train(replace(digits(epochs=4, lr=0.02), loss=loss), context)
    assert all(isfinite(loss) for loss in result.curve.train_loss)
    assert result.curve.train_loss[-1] < result.curve.train_loss[0]
