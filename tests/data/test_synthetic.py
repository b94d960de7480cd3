"""The generated experiments: what the papers' formulas say of them, and that the seed alone decides them."""

from functools import cache

import numpy as np
import pytest

from kdbench import catalog
from kdbench.data.generated import generated, is_generated
from kdbench.data.packed import Dataset
from kdbench.data.synthetic import D, normal, points

EXPERIMENTS = [name for name, entry in catalog.DATASETS.items() if entry.generated]
STUDENTS = [name for name in EXPERIMENTS if not name.endswith("_privileged")]


@cache
def opened(name: str) -> Dataset:
    """A data set of a seed, which the tests only read."""
    return generated(name, 5)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_data_sets_have_the_catalogs_form(name: str) -> None:
    data, entry = opened(name), catalog.DATASETS[name]
    assert tuple(data.train_images.shape) == (entry.train, entry.channels, 1, 1)
    assert tuple(data.test_images.shape) == (entry.test, entry.channels, 1, 1)
    assert set(data.train_labels.tolist()) == {0, 1}
    assert is_generated(name)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_training_values_are_standardised(name: str) -> None:
    values = opened(name).train_images.numpy().astype(np.float64)
    assert np.abs(values.mean(axis=0)).max() < 1e-6
    assert np.abs(values.std(axis=0) - 1).max() < 1e-6


@pytest.mark.parametrize("name", STUDENTS)
def test_teacher_and_student_see_the_same_points(name: str) -> None:
    student, teacher = opened(name), opened(f"{name}_privileged")
    assert student.train_labels.equal(teacher.train_labels)
    assert student.test_labels.equal(teacher.test_labels)


def test_data_are_a_function_of_the_seed() -> None:
    first, again, other = (generated("synthetic1", seed).content for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_training_and_test_points_are_drawn_apart() -> None:
    assert not np.allclose(
        points("synthetic1", 0, "train", 9).regular, points("synthetic1", 0, "test", 9).regular
    )


def test_normal_values_are_standard_normal() -> None:
    """Mean, variance and fourth moment of 100,000, within five standard errors."""
    values = normal(0, "a stream", 100_000)
    assert abs(values.mean()) < 5 / 316
    assert abs(values.var() - 1) < 5 * 2**0.5 / 316
    assert abs((values**4).mean() - 3) < 5 * 96**0.5 / 316


def test_experiment_1_has_noise_on_the_distance_to_the_plane() -> None:
    found = points("synthetic1", 0, "train", 2000)
    alpha = normal(0, "synthetic1 alpha", D)
    assert np.allclose(found.privileged.ravel(), found.regular @ alpha)
    agree = ((found.privileged.ravel() > 0) == found.y).mean()
    assert 0.9 < agree < 1


def test_experiment_2_has_noise_on_the_students_values() -> None:
    found = points("synthetic2", 0, "train", 2000)
    assert np.array_equal(found.privileged @ normal(0, "synthetic2 alpha", D) > 0, found.y)
    assert abs((found.regular - found.privileged).std() - 1) < 0.02


def test_experiment_3_needs_the_first_three_values_alone() -> None:
    found = points("synthetic3", 0, "train", 50)
    assert np.array_equal(found.privileged, found.regular[:, :3])
    assert np.array_equal(found.privileged @ normal(0, "synthetic3 alpha", D)[:3] > 0, found.y)


def test_experiment_4_takes_other_values_for_each_point() -> None:
    found = points("synthetic4", 0, "train", 200)
    where = [
        np.flatnonzero(np.isin(x, seen)) for x, seen in zip(found.regular, found.privileged, strict=True)
    ]
    assert {len(places) for places in where} == {3}
    assert len({tuple(places) for places in where}) > 150


def common(experiment: str, split: str) -> list[int]:
    """Which values of x the teacher sees of every point."""
    found = points(experiment, 0, split, 200)
    seen = found.regular[:, :, None] == found.privileged[:, None, :]
    return np.flatnonzero(seen.all(axis=0).any(axis=1)).tolist()


def test_experiment_4_as_released_takes_three_values_for_all_points_of_a_set() -> None:
    train, test = (common("synthetic4_released", split) for split in ("train", "test"))
    assert len(train) == len(test) == 3
    assert train != test


def test_experiment_4_as_released_has_as_many_points_of_each_class() -> None:
    assert points("synthetic4_released", 0, "train", 200).y.sum() == 100


def test_experiment_4_as_commented_out_takes_the_three_largest_values() -> None:
    found = points("synthetic4_largest", 0, "train", 50)
    assert np.array_equal(found.privileged, np.sort(found.regular, axis=1)[:, ::-1][:, :3])
