"""The example suite of docs/suites.md, with nearly every field of a recipe: read, planned and trained."""

import re
from pathlib import Path

import pytest

from kdbench.plan.expand import expand, make_plan
from kdbench.report.terminal import describe_row
from kdbench.spec.runs import Recipe, Run
from kdbench.suite.lint import lint_suite
from kdbench.suite.load import load_suite
from kdbench.training.context import TrainingContext
from kdbench.training.fingerprint import compute
from kdbench.training.run import train
from tests.support.places import ROOT
from tests.support.project import write_suite
from tests.support.training import interrupted, numbers, open_digits

FEW = {"epochs": 3, "train_size": 100, "test_size": 100, "validation_size": 30}


def example(folder: Path) -> Path:
    text = (ROOT / "docs" / "suites.md").read_text("utf-8")
    found = re.search(r"```toml\n(# A recipe of today.*?)```", text, re.DOTALL)
    assert found is not None
    return write_suite(folder, found[1], "example")


def plan(folder: Path) -> tuple[Run, ...]:
    return make_plan(expand(load_suite(example(folder)), settings=FEW))


def test_example_is_shown_with_all_of_its_recipe(tmp_path: Path) -> None:
    """And no number in it is unusual."""
    suite = load_suite(example(tmp_path))
    cell = expand(suite)[-1]
    shown = "\n".join(describe_row(suite, cell, "released"))
    assert "schedule = linear" in shown
    for name in ("lr_end", "clip_norm", "ema", "randaugment", "random_erasing", "mixup", "cutmix"):
        assert f"{name} = {getattr(cell.row.recipe, name)}" in shown
    assert {finding.rule for finding in lint_suite(suite)} <= {"no-reference"}


def test_example_is_a_chain_whose_first_run_nobody_taught(tmp_path: Path) -> None:
    runs = plan(tmp_path)
    last = runs[-1]
    assert last.teacher is not None
    assistant = last.teacher.run
    assert assistant.teacher is not None
    line = [assistant.teacher.run, assistant, last]
    assert [run.slug for run in line] == [
        "digits_cnn-ce", "digits_cnn-hinton_kd-digits_cnn", "digits_mlp-hinton_kd-digits_cnn",
    ]  # fmt: skip
    assert [run.seed for run in line] == [0, 0, 1]
    assert [runs.index(run) for run in line] == sorted(runs.index(run) for run in line)


@pytest.mark.slow
def test_example_trains_and_goes_on_as_never_interrupted(tmp_path: Path) -> None:
    """Teachers first, each with the weights of the one before; every run stopped after its second epoch."""
    runs = [run for run in plan(tmp_path) if run.seed == 0]
    whole, halved = (open_digits(tmp_path / name, tmp_path / "data") for name in ("whole", "halved"))

    known: set[object] = set()
    for run in runs:
        result, again = train(run, whole), train(run, interrupted(run, halved, 2))
        assert numbers(result) == numbers(again)
        assert len(result.curve.validation_top1) == 3
        if run.teacher:
            assert result.environment["teacher"] in known
        known.add(result.weights["3"])


def test_fingerprint_of_all_steps_is_the_run(tmp_path: Path, context: TrainingContext) -> None:
    """Of its evaluated weights: three epochs of three batches."""
    run = plan(tmp_path)[0]
    found, _ = compute(run, context.machine, 9, deterministic=False)
    assert found == train(run, context).weights["3"]


def test_every_field_of_a_recipe_is_described() -> None:
    text = (ROOT / "docs" / "suites.md").read_text("utf-8")
    assert [name for name in Recipe.__struct_fields__ if f"`{name}`" not in text] == []
