"""What `kdbench run --rerun` says in the end."""

from pathlib import Path

import pytest

from kdbench.machine import Machine
from kdbench.plan.selection import Workload
from kdbench.run import local
from kdbench.run.repeats import describe_repeats
from kdbench.spec.results import Failure
from kdbench.store.records import index, load_result, save_result
from tests.support.build import make_result, make_run
from tests.support.command import Command


def test_repeats_are_counted_and_the_largest_difference_is_named(tmp_path: Path) -> None:
    runs = [make_run(seed=seed) for seed in range(4)]
    given = [(70.0, 71.0), (70.0, 71.25), (69.5, 71.0)]
    for run in runs:
        save_result(tmp_path, make_result(run, 70.0, 71.0))
    for run, top1 in zip(runs, given, strict=False):
        save_result(tmp_path, make_result(run, 10.0, 10.0))  # an older repeat, which does not count
        save_result(tmp_path, make_result(run, *top1))
    ids = [run.id for run in runs]
    assert describe_repeats(index(tmp_path), ids) == (
        "3 runs trained again: 1 gave the stored accuracies of every epoch exactly; 2 did not, and differ by "
        "at most 0.50 points in an epoch"
    )
    assert describe_repeats(index(tmp_path), ids[:1]) == (
        "1 run trained again: 1 gave the stored accuracies of every epoch exactly"
    )
    assert describe_repeats(index(tmp_path), ids[3:]) == ""


@pytest.mark.usefixtures("stored")
def test_run_that_trains_again_ends_with_what_the_repeats_gave(
    kdbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_again(
        work: Workload, machine: Machine, _options: local.RunOptions
    ) -> dict[str, Failure | None]:
        for path in list(index(machine.results).results.values()):
            if (result := load_result(path)).id in work.retrained:
                save_result(machine.results, result)
        return {}

    monkeypatch.setattr(local, "train_missing", train_again)
    rows = "run", "suites/small", "--rows", "1.base/digits_mlp", "--seeds", "0-1"
    again = kdbench(*rows, "--rerun")
    assert again.err.splitlines()[-1] == (
        "2 runs trained again: 2 gave the stored accuracies of every epoch exactly"
    )
    assert "trained again" not in kdbench(*rows).err
