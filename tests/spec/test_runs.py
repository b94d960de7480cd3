"""Identity: what a run's id depends on, pinned, so that no default and no rule can change silently."""

import json
import pickle
from typing import Any

import msgspec
import pytest
from msgspec.structs import fields, replace

from kdbench.plugins import Plugin
from kdbench.spec.identity import identity
from kdbench.spec.results import RESULT_SCHEMA, Curve
from kdbench.spec.runs import PROTOCOL, Loss, Recipe, ReportEpoch, Run, Teacher
from kdbench.spec.weights import Imported, Weights

RECIPE = Recipe(epochs=40, batch_size=32, lr=0.05)
FULL = Recipe(
    epochs=40,
    batch_size=32,
    lr=0.05,
    milestones=(20, 30),
    gamma=0.2,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    crop=4,
    flip=True,
    rotation=15.0,
)
BASELINE = Run(
    protocol=1,
    dataset="digits",
    data="0" * 64,
    student="digits_cnn",
    recipe=RECIPE,
    loss=Loss("ce"),
    seed=0,
)
STUDENT = replace(
    BASELINE,
    student="digits_mlp",
    loss=Loss("kd", {"alpha": 0.9, "tau": 4.0}),
    teacher=Teacher(BASELINE, 40),
)

DEFAULTS = {
    "optimizer": "sgd",
    "lr_batch": 0,
    "warmup_epochs": 0,
    "schedule": "milestones",
    "lr_end": 0.0,
    "milestones": (),
    "ghost_batches": 0,
    "gamma": 1.0,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "rho": 0.0,
    "eps": 0.0,
    "eps_inside": False,
    "clip_norm": 0.0,
    "label_smoothing": 0.0,
    "ema": 0.0,
    "crop": 0,
    "flip": False,
    "rotation": 0.0,
    "randaugment": 0,
    "randaugment_magnitude": 0,
    "random_erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "size": 0,
    "resized_crop": False,
    "resize": 0,
    "normalize": "",
    "normalize_std": (),
    "train_size": 0,
    "test_size": 0,
    "subset": 0,
    "max_norm": 0.0,
    "transfer_classes": (),
    "bias": (),
    "validation_size": 0,
    "validation_seed": 0,
    "passes": 0,
    "draw": 0,
    "classes": 0,
}
"""Every default is "off" and left out of the hash: changing one would change the meaning of stored ids."""

OTHER = {
    "epochs": 41,
    "batch_size": 33,
    "lr": 0.06,
    "optimizer": "adam",
    "lr_batch": 128,
    "warmup_epochs": 1,
    "schedule": "cosine",
    "lr_end": 0.01,
    "ghost_batches": 2,
    "milestones": (20,),
    "gamma": 0.2,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "rho": 0.9,
    "eps": 1e-6,
    "eps_inside": True,
    "clip_norm": 1.0,
    "label_smoothing": 0.1,
    "ema": 0.999,
    "crop": 4,
    "flip": True,
    "rotation": 15.0,
    "randaugment": 2,
    "randaugment_magnitude": 5,
    "random_erasing": 0.25,
    "mixup": 0.2,
    "cutmix": 1.0,
    "size": 224,
    "resized_crop": True,
    "resize": 256,
    "normalize": "cifar100",
    "normalize_std": (0.2,),
    "train_size": 256,
    "test_size": 256,
    "subset": 300,
    "max_norm": 2.0,
    "transfer_classes": (7, 8),
    "bias": ((3, 3.5),),
    "validation_size": 30,
    "validation_seed": 1,
    "passes": 100,
    "draw": 7,
    "classes": 20,
}


@pytest.mark.parametrize(
    ("run", "pinned"),
    [
        (BASELINE, "067c2e50637f"),
        (replace(BASELINE, recipe=FULL), "959936bbadfc"),
        (replace(BASELINE, seed=1), "d6c9d4740c8d"),
        (STUDENT, "cf017be008ad"),
        (replace(STUDENT, teacher=Teacher(BASELINE, "best")), "a11696e0d1a8"),
    ],
)
def test_id_is_pinned(run: Run, pinned: str) -> None:
    assert run.id == pinned


def test_hashed_content_is_sorted_and_without_what_is_off() -> None:
    assert msgspec.json.encode(identity(STUDENT), order="sorted").decode() == (
        '{"data":"' + "0" * 64 + '","dataset":"digits","loss":{"name":"kd","params":{"alpha":0.9,"tau":4.0}},'
        '"protocol":1,"recipe":{"batch_size":32,"epochs":40,"lr":0.05},"seed":0,"student":"digits_mlp",'
        '"teacher":{"epoch":40,"run":"067c2e50637f"}}'
    )


def test_defaults_of_a_recipe_are_pinned() -> None:
    assert {info.name: info.default for info in fields(Recipe) if not info.required} == DEFAULTS


def test_versions_are_pinned() -> None:
    assert (PROTOCOL, RESULT_SCHEMA) == (2, 2)


@pytest.mark.parametrize("name", DEFAULTS)
def test_explicit_default_gives_the_same_id(name: str) -> None:
    changes: dict[str, Any] = {name: DEFAULTS[name]}
    assert replace(BASELINE, recipe=replace(RECIPE, **changes)).id == BASELINE.id


OF_THE_IMAGES = {"crop", "flip", "rotation", "size", "resized_crop", "resize", "normalize", "train_size"}
OF_THE_IMAGES |= {"subset", "passes", "transfer_classes", "normalize_std", "mixup", "cutmix"}
OF_THE_IMAGES |= {"randaugment", "randaugment_magnitude", "random_erasing", "validation_size"}


@pytest.mark.parametrize("name", OTHER)
def test_views_change_with_each_field_of_the_training_images(name: str) -> None:
    """Runs that agree in them are trained beside each other, and read the same kept logits."""
    changes: dict[str, Any] = {name: OTHER[name]}
    assert (replace(RECIPE, **changes).views != RECIPE.views) == (name in OF_THE_IMAGES)


def test_constant_schedule_is_the_same_run_as_none() -> None:
    assert replace(BASELINE, recipe=replace(RECIPE, schedule="constant")).id == BASELINE.id


def test_recipe_without_options_is_hashed_without_them() -> None:
    assert identity(RECIPE) == {"epochs": 40, "batch_size": 32, "lr": 0.05}


@pytest.mark.parametrize("name", [info.name for info in fields(Recipe)])
def test_id_changes_with_each_field_of_the_recipe(name: str) -> None:
    changes: dict[str, Any] = {name: OTHER[name]}
    assert replace(BASELINE, recipe=replace(RECIPE, **changes)).id != BASELINE.id


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": 2},
        {"dataset": "cifar10"},
        {"data": "1" * 64},
        {"student": "digits_mlp"},
        {"loss": Loss("lsr", {"epsilon": 0.1})},
        {"seed": 1},
        {"teacher": Teacher(STUDENT, 40)},
        {"precision": "bfloat16"},
        {"weights": Weights("timm/resnet50.a1_in1k", "2" * 64)},
        {"imported": Imported("digits_cnn", "2" * 64)},
        {"plugins": (Plugin("wkd", "0.1.0", "2" * 64),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_id_changes_with_each_field_of_the_run(changes: dict[str, Any]) -> None:
    assert replace(BASELINE, **changes).id != BASELINE.id


def test_every_field_of_a_run_is_tried() -> None:
    tried = {"protocol", "dataset", "data", "student", "loss", "seed", "teacher", "precision", "recipe"}
    assert {info.name for info in fields(Run)} == tried | {"weights", "imported", "plugins"}


def test_id_changes_with_the_digest_of_the_weights() -> None:
    first, second = (replace(BASELINE, weights=Weights("timm/resnet50.a1_in1k", 64 * of)) for of in "23")
    assert first.id != second.id


@pytest.mark.parametrize(
    "other",
    [
        replace(STUDENT, loss=Loss("kd", {"alpha": 0.9, "tau": 5.0})),
        replace(STUDENT, teacher=Teacher(BASELINE, 39)),
        replace(STUDENT, teacher=Teacher(BASELINE, "best")),
        replace(STUDENT, teacher=Teacher(replace(BASELINE, seed=1), 40)),
        replace(STUDENT, teacher=Teacher(replace(BASELINE, recipe=FULL), 40)),
        replace(STUDENT, teacher=None),
    ],
)
def test_id_changes_with_the_parameters_and_the_teacher(other: Run) -> None:
    assert other.id != STUDENT.id


def test_id_does_not_depend_on_the_order_of_parameters() -> None:
    assert replace(STUDENT, loss=Loss("kd", {"tau": 4.0, "alpha": 0.9})).id == STUDENT.id


@pytest.mark.parametrize("run", [BASELINE, STUDENT, replace(BASELINE, recipe=FULL)])
def test_pickling_keeps_the_id(run: Run) -> None:
    assert pickle.loads(pickle.dumps(run)).id == run.id  # noqa: S301 - its own


@pytest.mark.parametrize("run", [BASELINE, STUDENT, replace(BASELINE, recipe=FULL)])
def test_json_keeps_the_id(run: Run) -> None:
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run).id == run.id


def test_json_of_a_run_leaves_out_what_is_off() -> None:
    assert json.loads(msgspec.json.encode(RECIPE)) == {"epochs": 40, "batch_size": 32, "lr": 0.05}


@pytest.mark.parametrize(
    ("run", "slug"),
    [
        (BASELINE, "digits_cnn-ce"),
        (STUDENT, "digits_mlp-kd-digits_cnn"),
        (replace(STUDENT, teacher=Teacher(BASELINE, "best")), "digits_mlp-kd-digits_cnn"),
        (replace(STUDENT, teacher=Teacher(BASELINE, 1)), "digits_mlp-kd-digits_cnn@1"),
    ],
)
def test_slug_says_who_learns_what_from_whom(run: Run, slug: str) -> None:
    assert run.slug == slug


def test_lineage_goes_up_to_the_teacher_that_nobody_taught() -> None:
    second = replace(STUDENT, student="digits_cnn", teacher=Teacher(STUDENT, 40))
    assert second.lineage == (second, STUDENT, BASELINE)
    assert (second.taught_by, STUDENT.taught_by, BASELINE.taught_by) == (STUDENT.id, BASELINE.id, "")


def test_teacher_before_its_training_is_waited_for_by_nobody() -> None:
    assert replace(STUDENT, teacher=Teacher(BASELINE, 0)).taught_by == ""


def test_outputs_are_the_classes_unless_the_recipe_has_more() -> None:
    assert (BASELINE.outputs, replace(BASELINE, recipe=replace(RECIPE, classes=20)).outputs) == (10, 20)


def test_best_epoch_is_the_latest_of_the_best_unless_the_earliest_is_asked_for() -> None:
    curve = Curve((50.0, 70.0, 70.0, 60.0), (), (), ())
    assert curve.best_epoch == curve.best_epoch_of("latest") == 3
    assert curve.best_epoch_of("earliest") == 2


@pytest.mark.parametrize(("report_epoch", "value"), [("last", 60.0), ("best", 70.0), (1, 50.0), (4, 60.0)])
def test_reported_epoch_picks_a_point_of_the_curve(report_epoch: ReportEpoch, value: float) -> None:
    assert Curve((50.0, 70.0, 70.0, 60.0), (), (), ()).at(report_epoch) == value


def test_epoch_that_a_curve_has_not_is_an_error() -> None:
    with pytest.raises(IndexError):
        Curve((50.0,), (), (), ()).at(2)
