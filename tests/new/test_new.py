"""`kdbench new`: from an empty folder to one's own loss beside KD, and a suite that loads."""

import io
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kdbench import catalog
from kdbench.suite.load import load_suite
from tests.support.command import Command
from tests.support.places import ROOT
from tests.support.plugins import uninstall
from tests.support.suites import every_cell


def install_editable(folder: Path, site: Path) -> None:
    """What `pip install -e` leaves behind: the package's facts, and its folder on the path."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


def test_new_plugin_passes_its_own_tests_and_its_suite_is_planned(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kdbench("new", "plugin", "mine").code == 0
    install_editable(project / "mine", project / "site")
    monkeypatch.syspath_prepend(project / "site")
    monkeypatch.syspath_prepend(project / "mine")
    uninstall()
    try:
        written = runpy.run_path("mine/tests/test_mine.py")
        tests = [value for name, value in written.items() if name.startswith("test_")]
        for test in tests:
            test()
        planned = kdbench("plan", "mine/suites/mine_digits")
    finally:
        uninstall(*(module for module in sys.modules if module.partition(".")[0] == "mine"))
    assert len(tests) == 5
    assert (planned.code, "15 runs" in planned.out) == (0, True), planned.out


@pytest.mark.slow
def test_walk_through_of_the_docs_leads_from_an_empty_folder_to_a_table_beside_kd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "your-method.md").read_text(encoding="utf-8")
    steps = re.findall(r"^(\d+)\. `([^`]+)`", text, flags=re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert len(steps) <= 10
    site = tmp_path / "site"
    places = [str(ROOT), str(site), str(tmp_path / "my_kd")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "KDBENCH_DATA": str(tmp_path / "data")}
    monkeypatch.chdir(tmp_path)
    out = ""
    for _, step in steps:
        if step.startswith("pip install"):
            if "my_kd" in step:
                install_editable(tmp_path / "my_kd", site)
            continue
        if not step.startswith(("kdbench", "pytest")):
            continue  # an edit in one's own editor
        words = step.replace("kdbench", "-m kdbench", 1) if step.startswith("kdbench") else f"-m {step}"
        command = [sys.executable, *words.split(), *(["-p", "no:cacheprovider"] if "pytest" in step else [])]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}"
        out += done.stdout
    for row in ("1.kd", "1.my_kd", "1.my_kd_features"):
        assert f"## Table {row}" in out or f"{row}/digits_mlp:my_kd_net" in out
    for method in ("kd", "my_kd", "my_kd_features"):
        assert len(list((tmp_path / "results" / "digits").glob(f"digits_mlp-{method}-my_kd_net.*.json"))) == 3
    assert (tmp_path / "report.html").is_file()


def test_plugin_is_not_written_over_and_not_by_a_name_that_is_taken(kdbench: Command) -> None:
    assert kdbench("new", "plugin", "mine").code == 0
    assert "mine is there already; choose another name" in kdbench("new", "plugin", "mine").err
    assert "'kd' is the name of one of the losses already" in kdbench("new", "plugin", "kd").err
    assert "small letters, digits and _, as my_kd" in kdbench("new", "plugin", "My-KD").err
    for name in ("json", "torch", "class"):
        told = f"error: {name!r} is a word or a module of Python here already; choose another name\n"
        assert kdbench("new", "plugin", name).err == told


def test_entries_of_a_new_plugin_import_no_torch(kdbench: Command, project: Path) -> None:
    kdbench("new", "plugin", "mine")
    code = "import sys, mine.entries; assert 'torch' not in sys.modules"
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{project / 'mine'}"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def test_suite_of_every_method_of_the_catalog_loads(kdbench: Command, project: Path) -> None:
    entries = {**catalog.LOSSES, **catalog.DISTILLERS}
    words = ("--paper", 'A "new" method', "--dataset", "cifar100", "--students", "vgg8,resnet18")
    done = kdbench("new", "suite", "mine", *words, "--teachers", "resnet18", "--methods", ",".join(entries))
    assert done.code == 0, done.err
    suite = load_suite(project / "suites" / "mine")
    assert suite.paper == 'A "new" method'
    assert [row.name for row in suite.rows if row.table == "1.kd"] == [
        "1.kd/vgg8:resnet18",
        "1.kd/resnet18:self",
    ]
    assert {row.loss.name: row.loss.params for row in suite.rows} == {
        name: entry.starting_values for name, entry in entries.items()
    }
    assert "kdbench plan suites/mine" in done.out
    again = kdbench("new", "suite", "mine", *words, "--teachers", "resnet18", "--methods", "kd")
    assert "is there already" in again.err


def test_starting_values_are_those_of_a_row_of_a_paper() -> None:
    """Where a suite has any row of the method: such a row, of either variant, has just these values.

    Of `crd_kd` alone no paper's row is here; kdbench's own have as few negatives as their images need.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for cell in (*every_cell("printed"), *every_cell("released")):
        for run in cell.runs:
            found.setdefault(run.loss.name, []).append(dict(run.loss.params))
    del found["crd_kd"]
    assert len(found) > 30
    for name, rows in found.items():
        assert dict(catalog.find("losses", name).starting_values) in rows, name


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--methods", "kdd", "--methods: unknown loss 'kdd'. Did you mean 'kd'?"),
        ("--dataset", "cifar", "--dataset: unknown data set 'cifar'."),
        ("--students", "digits_mpl", "unknown model 'digits_mpl'. Did you mean 'digits_mlp'?"),
    ],
)
def test_suite_with_an_unknown_name_is_not_written(
    kdbench: Command, project: Path, option: str, value: str, message: str
) -> None:
    given = {
        "--paper": "A paper",
        "--dataset": "digits",
        "--students": "digits_mlp",
        "--teachers": "digits_cnn",
    }
    given |= {"--methods": "kd", option: value}
    done = kdbench("new", "suite", "mine", *(word for pair in given.items() for word in pair))
    assert done.code == 2
    assert message in done.err
    assert not (project / "suites" / "mine.toml").exists()


def test_unknown_data_set_is_refused_before_the_next_question(
    kdbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("A paper\ncifar\n"))
    done = kdbench("new", "suite", "mine")
    assert done.code == 2
    assert done.err.startswith("error: --dataset: unknown data set 'cifar'.")
    assert "(--students)" not in done.out


def test_question_without_an_answer_is_a_wrong_input(
    kdbench: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    done = kdbench("new", "suite", "mine")
    assert done.code == 2
    assert done.out.endswith("(--paper): \n")
    assert done.err == (
        "error: no answer to a question: standard input has ended; give it as the option in brackets\n"
    )
    assert not (project / "suites" / "mine.toml").exists()
