"""Author runs in an evidence bundle: taken along, and judged again."""

import zipfile
from pathlib import Path

from kdbench.store.released import save_evaluation
from tests.support.authors import evaluation, store_curves
from tests.support.command import Command
from tests.support.project import SUITE, write_suite


def test_bundle_of_author_runs_alone_is_judged_again(project: Path, kdbench: Command) -> None:
    store_curves(project, {"1.kd/digits_mlp:digits_cnn": [(80.0, 92.0, 92.1), (81.0, 91.9, 92.0)]})
    assert kdbench("bundle", "suites/small", "-o", "a.zip").code == 0
    with zipfile.ZipFile(project / "a.zip") as archive:
        assert "results/author_runs/small.json" in archive.namelist()
        assert b'"kind": "author run"' in archive.read("verdicts.json")
    assert kdbench("verify", "a.zip").code == 0


def test_bundle_takes_evaluations_of_released_weights(project: Path, kdbench: Command) -> None:
    row = '{ student = "digits_cnn", released = "friend", top1 = 92.5 }'
    imported = f'[[imported]]\nname = "friend"\nmodel = "digits_cnn"\nsha256 = "{"a" * 64}"\n'
    table = f'[[table]]\nid = "released"\nloss = {{ name = "ce" }}\nrows = [ {row} ]\n'
    write_suite(project, f"{SUITE}\n{imported}\n{table}")
    save_evaluation(project / "results", evaluation(digits=92.5))
    assert kdbench("bundle", "suites/small", "-o", "a.zip").code == 0
    with zipfile.ZipFile(project / "a.zip") as archive:
        assert f"results/released_weights/friend.{12 * 'a'}.json" in archive.namelist()
    assert kdbench("verify", "a.zip").code == 0


def test_bundle_without_author_runs_has_the_verdicts_of_before(stored: Path, kdbench: Command) -> None:
    assert kdbench("bundle", "suites/small", "-o", "a.zip").code == 0
    with zipfile.ZipFile(stored / "a.zip") as archive:
        assert b"published" not in archive.read("verdicts.json")
