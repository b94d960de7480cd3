"""Steps of several seeds done as one: the bits of each run alone, and what is not done so."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from torch import Tensor

from kdbench import catalog
from kdbench.errors import DivergedError, UserError
from kdbench.plan.cohorts import MOST, make_cohorts
from kdbench.spec.runs import Loss, Recipe, Run, Teacher
from kdbench.training import stacked_operations
from kdbench.training.recorded import Replay
from kdbench.training.run import train
from kdbench.training.stacked import Stack
from kdbench.training.stacked_operations import FORMS
from kdbench.training.student_run import StudentRun
from tests.support.build import CE, make_run
from tests.support.marks import slow_but
from tests.support.training import Interrupted, Opened, digits, kept_of, numbers, together

RECIPE = Recipe(
    epochs=2, batch_size=128, lr=0.01, optimizer="rmsprop", rho=0.9, eps=1e-6, eps_inside=True, passes=2,
    test_size=50,
)  # fmt: skip
TAUGHT = Loss("lopezpaz_released", {"T": 1.0, "lam": 1.0})
SEEDS = range(4)
Counted = Counter[str]


def logistic(name: str, seed: int, loss: Loss = CE, **settings: Any) -> Run:  # noqa: ANN401 - recipe fields
    data = catalog.DATASETS[name].digest
    run = replace(make_run("logistic", seed, loss), dataset=name, data=data)
    return replace(run, recipe=replace(RECIPE, **settings))


def alike(loss: Loss = CE, **settings: Any) -> list[Run]:  # noqa: ANN401 - recipe fields
    """Runs that differ in their seeds, and in their teachers' seeds where the loss has one."""
    runs = [logistic("synthetic1", seed, loss, **settings) for seed in SEEDS]
    if not catalog.find("losses", loss.name).teacher:
        return runs
    teachers = [logistic("synthetic1_privileged", seed) for seed in SEEDS]
    return [replace(run, teacher=Teacher(teacher, 2)) for run, teacher in zip(runs, teachers, strict=True)]


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a context keeps of the teachers, trained once for all tests."""
    teachers = [logistic("synthetic1_privileged", seed) for seed in SEEDS]
    return kept_of(teachers, tmp_path_factory.mktemp("teachers"), data)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """How many steps were done of a stack, and of a run by itself."""
    found: Counted = Counter()
    for name, kind in (("stack", Stack), ("alone", StudentRun)):
        step = kind.step

        def counted(self: Any, *args: Any, step: Any = step, name: str = name) -> None:  # noqa: ANN401
            step(self, *args)
            found[name] += 1

        monkeypatch.setattr(kind, "step", counted)
    return found


ALONE: dict[str, object] = {}
"""By run: its numbers, trained alone once for all tests of this file."""


def alone(runs: Sequence[Run], with_teacher: Opened) -> dict[str, object]:
    """The numbers of each run, trained alone, by its id."""
    context = with_teacher("alone")
    for run in runs:
        if run.id not in ALONE:
            ALONE[run.id] = numbers(train(run, context))
    return {run.id: ALONE[run.id] for run in runs}


def same_as_alone(runs: Sequence[Run], with_teacher: Opened, steps: Counted) -> Counted:
    """What was stepped of runs beside each other, whose results are found to be those of each alone."""
    wanted = alone(runs, with_teacher)
    beside = with_teacher("beside")
    steps.clear()
    assert {name: numbers(end) for name, end in together(runs, beside).items()} == wanted
    return steps


@pytest.mark.parametrize(
    "loss",
    slow_but(
        [TAUGHT],
        [
            CE,
            TAUGHT,
            Loss("lopezpaz_released", {"T": 3.0, "lam": 0.3}),
            Loss("kd", {"alpha": 0.9, "tau": 4.0}),
        ],
    ),
    ids=lambda loss: f"{loss.name}{loss.params}",
)
def test_stacked_seeds_have_the_bits_of_each_alone(loss: Loss, with_teacher: Opened, steps: Counted) -> None:
    """2 epochs of 2 passes of 2 batches, of 128 and of 72 points."""
    assert same_as_alone(alike(loss), with_teacher, steps) == {"stack": 8}


@pytest.mark.parametrize(
    "settings",
    slow_but(
        [{"schedule": "cosine"}],
        [
            {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "eps": 0.0},
            {"eps_inside": False},
            {"momentum": 0.9, "eps_inside": False, "weight_decay": 1e-3},
            {"label_smoothing": 0.1},
            {"schedule": "cosine"},
        ],
    ),
    ids=str,
)
def test_stacked_recipes(settings: dict[str, Any], with_teacher: Opened, steps: Counted) -> None:
    if settings.get("optimizer") == "sgd":
        settings |= {"rho": 0.0, "eps_inside": False}
    assert same_as_alone(alike(**settings), with_teacher, steps) == {"stack": 8}


@pytest.mark.parametrize(
    "settings",
    [{"optimizer": "adam", "rho": 0.0, "eps_inside": False}, {"ema": 0.5}, {"max_norm": 0.1}],
    ids=str,
)
def test_what_is_more_than_an_elementwise_update_is_done_run_by_run(
    settings: dict[str, Any], with_teacher: Opened, steps: Counted
) -> None:
    assert same_as_alone(alike(**settings), with_teacher, steps) == {"alone": 32}


def test_images_are_stacked_as_they_are_seen(
    with_teacher: Opened, steps: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views that change in every epoch are made run by run; so are those of runs with different losses."""
    runs = [
        replace(digits(loss=loss), seed=seed)
        for loss in (CE, Loss("lsr", {"epsilon": 0.1}))
        for seed in SEEDS
    ]
    monkeypatch.setitem(catalog.MODELS, "digits_mlp", replace(catalog.MODELS["digits_mlp"], tiny=True))
    assert [len(cohort) for cohort in make_cohorts(runs)] == [len(runs)]
    assert same_as_alone(runs, with_teacher, steps) == {"stack": 2 * 3 * 3}


def test_operation_that_has_other_bits_together_is_done_one_by_one(
    with_teacher: Opened, steps: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mm", "sum"):
        monkeypatch.setitem(FORMS, name, lambda *args, form=FORMS[name]: form(*args) * (1 + 2**-20))
    assert same_as_alone(alike(), with_teacher, steps) == {"stack": 8}


def test_stack_with_other_bits_is_dissolved(
    with_teacher: Opened, steps: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that one of four runs would not have alone: none of them is changed by it."""
    usual = stacked_operations.for_all_runs

    def wrong(*args: Any) -> Replay:  # noqa: ANN401
        replay = usual(*args)

        def replayed(*inputs: Tensor) -> tuple[Any, ...]:
            value, *gradients = replay(*inputs)
            gradients[0][3, 0, 0] += 1e-3
            return value, *gradients

        return replayed

    monkeypatch.setattr("kdbench.training.stacked.for_all_runs", wrong)
    assert same_as_alone(alike(), with_teacher, steps) == {"alone": 32}


def test_run_that_fails_takes_no_other_seed_with_it(with_teacher: Opened) -> None:
    runs = alike(TAUGHT)
    wanted = alone(runs, with_teacher)
    beside = with_teacher("beside")
    for path in (beside.machine.scratch / "weights" / _teacher(runs[1])).iterdir():
        path.unlink()
    found = together(runs, beside)
    assert isinstance(found.pop(runs[1].id), UserError)
    assert {name: numbers(end) for name, end in found.items()} == {name: wanted[name] for name in found}


def _teacher(run: Run) -> str:
    assert run.teacher is not None
    return run.teacher.run.id


def test_run_that_diverges_takes_no_other_seed_with_it(
    with_teacher: Opened, steps: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = alike()
    wanted = alone(runs, with_teacher)
    steps.clear()
    mean = StudentRun.mean_loss

    def diverged(self: StudentRun) -> float:
        if self.run.seed == 2 and self.epoch == 1:
            raise DivergedError("diverged")
        return mean(self)

    monkeypatch.setattr(StudentRun, "mean_loss", diverged)
    found = together(runs, with_teacher("beside"))
    assert isinstance(found.pop(runs[2].id), DivergedError)
    assert {name: numbers(end) for name, end in found.items()} == {name: wanted[name] for name in found}
    assert steps["stack"] == 8


def test_stacked_runs_go_on_from_their_checkpoints(with_teacher: Opened, steps: Counted) -> None:
    """Stopped after the first epoch of two: then the other two do that one, and all four the second."""
    runs = alike(TAUGHT)
    wanted = alone(runs, with_teacher)
    context, seen = with_teacher("beside"), []

    def stop(run: Run, _: object) -> None:
        seen.append(run)
        if len(seen) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        together(runs, context, watch=stop)
    steps.clear()
    assert {name: numbers(end) for name, end in together(runs, context).items()} == wanted
    assert steps == {"stack": 4 + 4}


def test_cohorts_take_the_seeds_of_tiny_networks_together() -> None:
    runs = [replace(run, seed=seed) for run in (alike()[0], alike(TAUGHT)[0]) for seed in range(150)]
    assert [len(cohort) for cohort in make_cohorts(runs)] == [150, 150]
    assert [len(cohort) for cohort in make_cohorts(runs, workers=3)] == [75, 75, 150]
    many = [logistic("synthetic1", seed) for seed in range(MOST + 7)]
    assert [len(cohort) for cohort in make_cohorts(many)] == [MOST, 7]
    assert sum(make_cohorts(many), ()) == tuple(many)


def test_cohorts_leave_apart_what_is_no_tiny_network_or_no_other_seed() -> None:
    first = alike()[0]
    for other in (
        logistic("synthetic2", 1),
        logistic("synthetic1", 1, lr=0.1),
        logistic("synthetic1", 1, Loss("lsr", {"epsilon": 0.1})),
        alike(TAUGHT)[1],
    ):
        assert len(make_cohorts([first, other])) == 2
    assert len(make_cohorts([digits("digits_cnn"), replace(digits("digits_cnn"), seed=1)])) == 2
