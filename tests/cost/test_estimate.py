"""What a run will need, from stored results of its like."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kdbench.cost.speeds import Need, expected_need
from kdbench.spec.results import Result
from kdbench.spec.runs import Run
from kdbench.store.records import index, save_result
from tests.support.build import CE, make_result, make_run

RUN = make_run("resnet18", 0, CE)
"""Two epochs of 50,000 images."""
GIB = 2**30


def needs(folder: Path, *stored: Result, of: Run = RUN) -> Need:
    """What a run needs by these results, where nothing is assumed to be 100 images/s."""
    for result in stored:
        save_result(folder, result)
    return expected_need(index(folder), 100.0)(of)


def measured(run: Run, seconds: float, peak: int, device: str = "cpu") -> Result:
    """A result that took so long, and so many GiB."""
    result = make_result(run, *[50.0] * run.recipe.epochs)
    return replace(result, seconds=seconds, peak_memory=peak * GIB, environment={"device": device})


def test_need_without_results_is_assumed(tmp_path: Path) -> None:
    assert needs(tmp_path) == Need(1000.0, None)


def test_need_is_that_of_another_seed(tmp_path: Path) -> None:
    assert needs(tmp_path, measured(make_run("resnet18", 7, CE), 400.0, 3)) == Need(400.0, 3.0)


def test_speed_is_that_of_the_longest_and_memory_the_largest(tmp_path: Path) -> None:
    short = replace(RUN, recipe=replace(RUN.recipe, train_size=256))
    found = needs(tmp_path, measured(short, 400.0, 3), measured(make_run("resnet18", 1, CE), 500.0, 2))
    assert found == Need(500.0, 3.0)


@pytest.mark.parametrize(
    "other",
    [
        make_run("resnet50", 0, CE),
        replace(RUN, dataset="cifar10"),
        make_run("resnet18", 0),
    ],
)
def test_result_of_another_kind_measures_nothing(tmp_path: Path, other: Run) -> None:
    assert needs(tmp_path, measured(other, 400.0, 3)) == Need(1000.0, None)


def test_memory_of_another_batch_size_or_of_a_gpu_does_not_count(tmp_path: Path) -> None:
    other = replace(RUN, recipe=replace(RUN.recipe, batch_size=512))
    on_gpu = measured(make_run("resnet18", 1, CE), 400.0, 3, "cuda")
    assert needs(tmp_path, measured(other, 400.0, 3), on_gpu) == Need(400.0, None)


def test_memory_of_several_processes_is_divided_among_them(tmp_path: Path) -> None:
    stored = measured(RUN, 400.0, 8)
    shared = replace(stored, environment={**stored.environment, "processes": 4})
    assert needs(tmp_path, shared) == Need(400.0, 2.0)


def test_broken_result_measures_nothing(tmp_path: Path) -> None:
    save_result(tmp_path, measured(RUN, 400.0, 3)).write_text("{")
    assert needs(tmp_path) == Need(1000.0, None)
