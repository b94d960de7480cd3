"""The house: imports go down one ordered list, and commands that train nothing import nothing heavy."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from tests.support.places import ROOT
from tools import house

CLUSTER = "kdbench/cluster/sbatch.py"


def test_imports_go_down_the_list_and_never_in_a_circle() -> None:
    imports = house.graph(ROOT)
    assert {house.room(module) for module in imports} == {*house.ORDER}
    assert house.arrows_up(imports) == []
    assert house.circles(imports) == []


def test_documented_folders_are_those_of_the_list_in_its_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", page, flags=re.MULTILINE)
    assert named == [*house.ORDER]


def test_functions_named_in_the_documentation_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = "|".join(name for name in house.ORDER if (ROOT / "kdbench" / name).is_dir())
    named = set(re.findall(rf"\b((?:{folders})\.\w+)\.(\w+)", page))
    assert len(named) >= 10
    for module, name in named:
        text = (ROOT / "kdbench" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b", text, flags=re.MULTILINE), f"{module}.{name}"


def test_arrows_up_and_circles_are_found() -> None:
    imports = {
        "kdbench.spec.a": {"kdbench.store.b"},
        "kdbench.store.b": {"kdbench.store.c"},
        "kdbench.store.c": {"kdbench.spec.a"},
    }
    assert house.arrows_up(imports) == ["kdbench.spec.a imports kdbench.store.b"]
    assert house.circles(imports) == [["kdbench.spec.a", "kdbench.store.b", "kdbench.store.c"]]


def test_no_comprehension_stands_in_another() -> None:
    """Two thoughts, two lines."""
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    nested = []
    for path in house.modules(ROOT).values():
        for outer in ast.walk(house.parsed(path)):
            if isinstance(outer, kinds):
                inner = [each for each in ast.walk(outer) if isinstance(each, kinds) and each is not outer]
                nested += [f"{path.relative_to(ROOT)}:{each.lineno}" for each in inner]
    assert nested == []


def test_only_one_file_imports_submitit() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in house.modules(ROOT).values()
        for name in house.imported(path)
        if name.partition(".")[0] == "submitit"
    }
    assert found == {CLUSTER}


def test_tests_import_nothing_from_other_tests() -> None:
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for name in house.imported(path):
            of_a_test = name.startswith("tests.") and name.rpartition(".")[2].startswith(
                ("test_", "conftest")
            )
            if of_a_test:
                found.append(f"{path.relative_to(ROOT)} imports {name}")
    assert found == []


HEAVY_AT_START = [
    "numpy",
    "scipy.stats",
    "sklearn",
    "torch",
    "torchvision",
    "timm",
    "rich",
    "jinja2",
    "PIL",
    "matplotlib",
]
HEAVY_FOR_HELP = ["msgspec", "tomllib", "importlib.metadata", "kdbench.catalog", "kdbench.machine"]
"""What `--help` does not import either: click itself is half of what it may cost (tests/bench/starts.py)."""
PROBE = """
import sys
from kdbench.cli import main
try:
    main()
except SystemExit as stop:
    print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
    sys.exit(stop.code)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["lint", "SUITE"],
        ["plan", "SUITE"],
        ["check", "SUITE"],
        ["report", "SUITE"],
        ["status", "SUITE"],
        ["list", "rows", "SUITE"],
        ["list", "models"],
        ["show", "SUITE/1.kd/mobilenetv2:resnet18"],
        ["schema"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_command_imports_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    copytree(ROOT / "suites", tmp_path / "suites")
    heavy = HEAVY_AT_START + (HEAVY_FOR_HELP if "--help" in words else [])
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROBE.format(heavy=heavy),
            *(word.replace("SUITE", "suites/tfkd_cifar100") for word in words),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
