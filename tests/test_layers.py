"""The house: imports go down one ordered list, and commands that train nothing import nothing heavy."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copy

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
    of_a_test = re.compile(r"^\s*(from|import) tests\..*\b(test_|conftest)", re.MULTILINE)
    files = sorted((ROOT / "tests").rglob("*.py"))
    found = [str(path) for path in files if of_a_test.search(path.read_text(encoding="utf-8"))]
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
HELP = ["--help", "run --help"]
OTHERS = [
    "completion bash",
    "schema",
    "list models",
    "list rows SUITE",
    "show SUITE/1.kd/mobilenetv2:resnet18",
    "lint SUITE",
    "plan SUITE",
    "check SUITE",
    "status SUITE",
    "report SUITE",
]
PROBE = """
import sys
from kdbench.cli import main

def run(commands, heavy):
    for command in commands:
        sys.argv = ["kdbench", *command.replace("SUITE", "suites/tfkd_cifar100").split()]
        try:
            main()
        except SystemExit as stop:
            found = [name for name in heavy if name in sys.modules]
            print(command, stop.code or 0, *found, sep=", ", file=sys.stderr)

"""
"""Commands in one process: after each its exit code, and what it or one before it has imported."""


def test_commands_import_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    copy(ROOT / "suites" / "tfkd_cifar100.toml", tmp_path / "suites")
    code = f"{PROBE}\nrun({HELP}, {HEAVY_AT_START + HEAVY_FOR_HELP})\nrun({OTHERS}, {HEAVY_AT_START})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines() == [f"{command}, 0" for command in HELP + OTHERS]
