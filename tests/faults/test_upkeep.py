"""`kdbench gc` and `kdbench fsck` on a project that was really trained, and then damaged."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.cli import main
from kdbench.machine import Machine, load_machine
from kdbench.plan.expand import expand
from kdbench.run.notebook import train
from kdbench.spec.results import Failure, Result
from kdbench.store.files import digest
from kdbench.store.lease import Watch, take
from kdbench.store.records import index, load_result, save_failure
from kdbench.suite.load import load_suite
from tests.support.project import SUITE, change, make_project

SMALL = change(
    ("epochs = 3", "epochs = 2\ntrain_size = 64\ntest_size = 64"), ("seeds = 2", "seeds = 1"), suite=SUITE
)
Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with all its results and weights."""
    folder = tmp_path_factory.mktemp("project")
    path = make_project(folder, SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KDBENCH_DATA", str(folder / "data"))
        for cell in expand(load_suite(path)):
            train(cell.runs[0])
    return folder


@pytest.fixture
def kdbench(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command in a copy of the project; gives its exit code and output."""
    shutil.copytree(trained, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("KDBENCH_DATA", str(tmp_path / "project" / "data"))

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["kdbench", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return int(stop.value.code or 0), output.out + output.err

    return run


def results() -> dict[str, Result]:
    """By what a person calls them: three runs."""
    found = [load_result(path) for path in index(Path.cwd() / "results").results.values()]
    return {result.run.slug: result for result in found}


def weights(run: str) -> list[str]:
    """The epochs of which a run's weights are there."""
    return sorted(path.name.partition(".")[0] for path in Path(".kdbench/weights", run).glob("*"))


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_fsck_of_what_is_whole_finds_nothing(kdbench: Command) -> None:
    code, output = kdbench("fsck")
    assert (code, output) == (0, "looked at 3 results, 6 weights, 9 predictions, 1 data set; 0 wrong\n")


def test_fsck_names_a_flipped_bit_in_weights(kdbench: Command) -> None:
    path = next(Path.cwd().glob(".kdbench/weights/*/2.*"))
    flip(path)
    code, output = kdbench("fsck")
    assert code == 1
    assert output.startswith(f"weights {path}: damaged: its sha256 is {digest(path)[:12]}, its name says ")


def test_fsck_names_weights_that_no_result_records(kdbench: Command) -> None:
    """Whole in themselves, but not what was trained."""
    path = next(Path.cwd().glob(".kdbench/weights/*/2.*"))
    flip(path)
    path = path.rename(path.with_name(f"2.{digest(path)}.safetensors"))
    code, output = kdbench("fsck")
    assert code == 1
    assert f"{path}: no result of run {path.parent.name} records these weights" in output


def test_fsck_names_a_result_taught_by_other_weights(kdbench: Command) -> None:
    student = results()["digits_mlp-kd_released-digits_cnn"]
    path = index(Path.cwd() / "results").results[student.id]
    content = json.loads(path.read_bytes())
    content["environment"]["teacher"] = "0" * 64
    path.write_text(json.dumps(content), encoding="utf-8")
    code, output = kdbench("fsck")
    assert code == 1
    assert f"result {path}: taught by weights 000000000000, which no result of its teacher" in output


def test_fsck_names_a_result_that_its_predictions_contradict(kdbench: Command) -> None:
    """Its curve, last and best are changed alike, so the record agrees with itself."""
    run = results()["digits_mlp-ce"].id
    path = index(Path.cwd() / "results").results[run]
    content = json.loads(path.read_bytes())
    predicted = content["curve"]["top1"][-1]
    content["curve"]["top1"][-1] = content["last"] = content["best"] = 95.20
    content["best_epoch"] = 2
    path.write_text(json.dumps(content), encoding="utf-8")
    code, output = kdbench("fsck")
    assert code == 1
    says = f"epoch 2: its predictions give {predicted:.2f} %, the record says 95.20 %"
    assert f"result {path}: {says}" in output
    for labels in Path(".kdbench/predictions", run).glob("labels.*"):
        labels.unlink()
    assert kdbench("fsck")[0] == 0


def test_fsck_names_a_result_that_is_broken_or_moved(kdbench: Command) -> None:
    first, second, _ = sorted(index(Path.cwd() / "results").results.values())
    first.write_bytes(first.read_bytes()[:-40])
    second.rename(second.with_name(second.name.replace("digits", "figures")))
    code, output = kdbench("fsck")
    assert code == 1
    assert f"result {first}: no valid result: " in output
    assert f"it belongs to digits/{second.name}: it was renamed or moved" in output


def test_fsck_names_a_checkpoint_of_another_run(kdbench: Command) -> None:
    path = next(Path.cwd().glob(".kdbench/weights/*/2.*"))
    folder = Path.cwd() / ".kdbench/checkpoints/0123456789ab"
    folder.mkdir(parents=True)
    shutil.copy(path, folder)
    code, output = kdbench("fsck")
    assert code == 1
    assert f"checkpoint {folder / path.name}: it does not say whose checkpoint it is" in output


def test_fsck_names_a_damaged_data_set(kdbench: Command) -> None:
    flip(Path("data/digits.v1.safetensors"))
    code, output = kdbench("fsck")
    assert code == 1
    assert "data set digits: " in output
    assert "refused, its content is" in output


def test_gc_removes_weights_that_nobody_learns_from_and_no_others(kdbench: Command) -> None:
    teacher, student = (results()[name].id for name in ("digits_cnn-ce", "digits_mlp-ce"))
    before = weights(teacher)
    code, output = kdbench("gc")
    assert (code, before) == (0, ["2", "best"])
    assert "weights from which no row learns" in output
    assert (weights(teacher), weights(student)) == (["2"], [])
    assert kdbench("fsck")[0] == 0


def test_gc_dry_run_removes_nothing(kdbench: Command) -> None:
    before = sorted(Path().rglob("*"))
    code, output = kdbench("gc", "--dry-run")
    assert code == 0
    assert " would go, " in output.splitlines()[-1]
    assert sorted(Path().rglob("*")) == before


def test_gc_keeps_the_weights_that_another_suite_needs(kdbench: Command) -> None:
    """Whatever suite the command names: all of suites/ count."""
    other = change(('teacher = "digits_cnn"', 'teacher = "digits_cnn@1"'), suite=SMALL)
    Path("other.toml").write_text(other, encoding="utf-8")
    teacher = results()["digits_cnn-ce"].id
    kdbench("gc", "other")
    assert weights(teacher) == ["2"]


def test_gc_refuses_where_a_suite_is_wrong(kdbench: Command) -> None:
    """Nobody knows what it needs."""
    Path("suites/wrong.toml").write_text("[suite]\n", encoding="utf-8")
    before = sorted(Path().rglob("*"))
    assert kdbench("gc")[0] == 2
    assert sorted(Path().rglob("*")) == before


def test_gc_removes_what_dead_processes_left(kdbench: Command) -> None:
    result = results()["digits_mlp-ce"]
    checkpoint = Path(".kdbench/checkpoints", result.id, "1.0.safetensors")
    part = Path("results/digits/.x.json.0a1b2c3d.part")
    lock = Path(".kdbench/locks", result.id, "1")
    for path in (checkpoint, part, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{"host": "a", "pid": 1, "kernel": "", "free": true}')
    os.utime(part, (0, 0))
    failure = save_failure(Path("results"), Failure(id=result.id, run=result.run, cause="a", log=""))
    assert kdbench("gc")[0] == 0
    assert not any(path.exists() for path in (checkpoint.parent, part, lock.parent, failure))


def test_gc_leaves_what_a_run_with_a_damaged_record_would_go_on_from(kdbench: Command) -> None:
    (run, path), *_ = index(Path("results")).results.items()
    path.write_text("{", encoding="utf-8")
    checkpoint = Path(".kdbench/checkpoints", run, "1.0.safetensors")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    before = weights(run)
    assert kdbench("gc")[0] == 0
    assert (checkpoint.exists(), weights(run)) == (True, before)


def test_gc_leaves_what_is_just_being_written(kdbench: Command) -> None:
    part = Path("results/digits/.x.json.0a1b2c3d.part")
    part.touch()
    kdbench("gc")
    assert part.exists()


def test_gc_leaves_a_run_that_somebody_trains_again(kdbench: Command) -> None:
    machine: Machine = load_machine()
    run = results()["digits_mlp-ce"].id
    checkpoint = machine.scratch / "checkpoints" / run / "1.0.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    held = take(machine.scratch / "locks" / run, Watch())
    assert held is not None
    with held:
        kdbench("gc")
        held.check()
    assert checkpoint.exists()
