"""Training on images of many sizes, from packed shards: the same numbers whatever the number of workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image

from kdbench import catalog
from kdbench.data import imagenet
from kdbench.data.fetch import Fetcher
from kdbench.data.packed import open_dataset, source_digest
from kdbench.errors import UserError
from kdbench.importing.teacher import Request, import_teacher
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.plan.expand import expand
from kdbench.spec.events import Task
from kdbench.spec.identity import identity
from kdbench.spec.results import Result
from kdbench.spec.runs import Recipe, Run, Teacher
from kdbench.spec.suites import Delta
from kdbench.suite.load import load_suite
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.images import (
    chosen_images,
    evaluation_batches,
    evaluation_set,
    statistics,
    training_views,
    validation_images,
    workers,
)
from kdbench.training.run import train, train_cohort
from tests.support.build import CE, KD, make_run
from tests.support.places import ROOT
from tests.support.training import network_left

RECIPE = Recipe(
    epochs=3, batch_size=16, lr=0.05, momentum=0.9, size=8, resize=10, resized_crop=True, flip=True
)
TRAIN, TEST = 40, 10
"""Images of each of the two classes: dark and light."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of noise about a level, in ImageNet's layout."""
    place, drawn = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, n in (("train", TRAIN), ("val", TEST)):
        for name, level in (("n01440764", 70), ("n01443537", 150)):
            folder = place / "imagenet" / split / name
            folder.mkdir(parents=True)
            for number in range(n):
                pixels = drawn.integers(level - 60, level + 60, size=(5, 4 + number % 3, 3)).astype(np.uint8)
                Image.fromarray(pixels).resize((60, 50)).save(folder / f"{number}.JPEG")
    return place


@pytest.fixture(autouse=True)
def _small(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "ARCHIVES", {"small.tar": str(place)})
    entry = replace(catalog.DATASETS["imagenet"], train=2 * TRAIN, test=2 * TEST, classes=2)
    monkeypatch.setitem(catalog.DATASETS, "imagenet", entry)
    monkeypatch.setitem(catalog.DATASETS, "imagenet", replace(entry, digest=source_digest(entry)))


def context(place: Path, root: Path, workers: int | None = None) -> TrainingContext:
    data = Data(folder=str(place), offline=True, workers=workers)
    return open_context(Machine(local=Local(device="cpu"), data=data, folders=Folders(), root=str(root)))


def small(student: str = "digits_cnn", **settings: object) -> Run:
    run = replace(make_run(student, 0, CE), dataset="imagenet", data=catalog.DATASETS["imagenet"].digest)
    return replace(run, recipe=replace(RECIPE, **settings))


def test_run_learns_and_is_the_same_whatever_the_number_of_workers(place: Path, tmp_path: Path) -> None:
    one, three = (train(small(), context(place, tmp_path / str(n), n)) for n in (1, 3))
    assert one.last > 90
    assert (one.curve.top1, one.weights) == (three.curve.top1, three.weights)
    assert one.environment["data"] == open_dataset("imagenet", Fetcher(place=place)).content


def test_held_out_images_are_not_trained_on_and_seen_at_their_centre(place: Path, tmp_path: Path) -> None:
    """Of 60 images 20 are held out and 15 others drawn; the record has the accuracy of the weights."""
    here = context(place, tmp_path, 2)
    run = small(train_size=60, validation_size=20, validation_seed=1, subset=15)
    data, held = here.data.named("imagenet"), validation_images(run, 2 * TRAIN)
    chosen = chosen_images(run, data.train_labels)
    assert chosen is not None
    assert (len(chosen), len(held)) == (15, 20)
    assert len({*chosen.tolist(), *held.tolist()}) == 35
    assert held.max() < 60
    assert [len(index) for _, _, index in training_views(run, data, here).epoch(1)] == [15]
    images = evaluation_set(run, data, here, held_out=True)
    labels = torch.cat([y for _, y, _ in evaluation_batches(run, images, here)])
    assert labels.equal(data.train_labels[held])

    result = train(run, here)
    assert len(result.curve.validation_top1) == 3
    network = network_left(here, run, 3)
    found = [network(x).logits.argmax(dim=1) for x, _, _ in evaluation_batches(run, images, here)]
    right = int((torch.cat(found) == labels).sum())
    assert result.curve.validation_top1[-1] == pytest.approx(100 * right / 20)


@pytest.mark.slow
def test_network_of_timm_trains_and_teaches_at_reduced_resolution(place: Path, tmp_path: Path) -> None:
    recipe = {"size": 32, "resize": 36, "epochs": 1, "train_size": 8, "test_size": 5}
    teacher = small("resnet18_224", **recipe)
    here = context(place, tmp_path)
    train(teacher, here)
    student = replace(small("mobilenetv2_224", **recipe), loss=KD, teacher=Teacher(teacher, 1))
    assert train(student, here).last in {0.0, 20.0, 40.0, 60.0, 80.0, 100.0}


@pytest.mark.slow
def test_students_beside_each_other_are_as_alone(place: Path, tmp_path: Path) -> None:
    """At a size too, whether the teacher's logits are computed or kept."""
    teacher = small(epochs=1)
    taught = [replace(small(lr=lr, epochs=1), loss=KD, teacher=Teacher(teacher, 1)) for lr in (0.05, 0.02)]
    alone, beside = context(place, tmp_path / "alone"), context(place, tmp_path / "beside", 2)
    for here in (alone, beside):
        train(teacher, here)
    first = [train(run, alone) for run in taught]
    cohort = list(train_cohort([Task(run) for run in taught], beside))
    assert [end.weights for _, end in cohort if isinstance(end, Result)] == [each.weights for each in first]


def test_imported_teacher_is_measured_at_its_size(place: Path, tmp_path: Path) -> None:
    result = train(small(), context(place, tmp_path))
    file = next((tmp_path / ".kdbench" / "weights" / result.id).glob("3.*.safetensors"))
    asked = Request(file=file, model="digits_cnn", dataset="imagenet", name="t", size=8, resize=10)
    _, provenance = import_teacher(asked, context(place, tmp_path).machine)
    assert provenance.top1 == {"imagenet": result.last}
    assert (provenance.size, provenance.resize) == (8, 10)


def test_imported_teacher_without_a_size_is_refused(place: Path, tmp_path: Path) -> None:
    asked = Request(file=tmp_path / "a.pt", model="digits_cnn", dataset="imagenet")
    with pytest.raises(UserError, match="its images have many sizes; add --size 224 --resize 256"):
        import_teacher(asked, context(place, tmp_path).machine)


def test_workers_are_those_of_benchmark_toml_else_the_runs_share(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    here = context(place, tmp_path)
    assert (workers(here), workers(context(place, tmp_path, 5))) == (1, 5)
    on_gpu = replace(here.machine, local=Local(workers=2))
    assert workers(TrainingContext(on_gpu, torch.device("cuda"))) == 6


def test_images_are_normalised_as_their_own_data_set() -> None:
    entry = catalog.DATASETS["digits"]
    run = replace(make_run(), dataset="digits")
    assert statistics(run) == (entry.mean, entry.std)


def test_images_are_normalised_as_the_named_data_set() -> None:
    run = make_run()
    entry = catalog.DATASETS["cifar10"]
    assert statistics(replace(run, recipe=replace(run.recipe, normalize="cifar10"))) == (
        entry.mean,
        entry.std,
    )


def test_images_of_a_delta_have_the_released_std_and_the_mean_of_their_data_set() -> None:
    """FNKD's script has these for CIFAR-10; without the delta nothing changes."""
    suite = load_suite(ROOT / "suites" / "fnkd_cifar10")
    std = (0.2023, 0.1994, 0.2010)
    delta = Delta(at="Normalize", why="its std", recipe={"normalize_std": list(std)})
    as_is, changed = (
        expand(replace(suite, deltas=deltas), rows="baseline/resnet20_v2", seeds=[0])[0].runs[0]
        for deltas in (suite.deltas, (*suite.deltas, delta))
    )
    entry = catalog.DATASETS["cifar10"]
    assert (statistics(as_is), statistics(changed)) == ((entry.mean, entry.std), (entry.mean, std))
    assert identity(changed.recipe) == {**identity(as_is.recipe), "normalize_std": std}
