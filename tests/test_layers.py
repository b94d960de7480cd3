"""What may import what, how long a file may be, and what the commands must not import at start."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOME = ROOT / "kdbench"
FILES = sorted(HOME.rglob("*.py"))
TORCH_SIDE = ("training", "models", "data")
HEAVY = {"torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "PIL", "safetensors"}
UPPER = {
    *("suite", "plan", "check", "report", "lint", "cli", "workload", "running", "judging"),
    *("cluster", "commands", "evidence", "seeds"),
}
FETCHING = {"running.py", "doctor.py", "submitting.py"}
"""What is itself imported only when a run starts, and may name the place of the data on top."""


def part(path: Path) -> str:
    """The first folder inside kdbench, or "" for the core's own files."""
    return path.relative_to(HOME).parts[0] if path.parent != HOME else ""


NOUNS = {"spec.py", "claim.py", "identity.py", "weights.py", "errors.py", "stats.py"}
CORE = [path for path in FILES if part(path) in ("", "report", "commands", "evidence", "seeds", "cost")]
TRAINING = [path for path in FILES if part(path) in (*TORCH_SIDE, "importing")]


def named(path: Path) -> str:
    return str(path.relative_to(HOME))


def _children(node: ast.AST, *, inside: bool) -> Iterator[ast.AST]:
    """The nodes that run: not those for type checkers, nor (unless asked for) those in functions."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not typing_only and (inside or not function):
            yield child
            yield from _children(child, inside=inside)


def imports(path: Path, *, inside: bool) -> set[str]:
    """The modules that a file imports when it is imported, and `inside` its functions too."""
    found: set[str] = set()
    for node in _children(ast.parse(path.read_text(encoding="utf-8")), inside=inside):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def parts(modules: set[str]) -> set[str]:
    """The parts of kdbench among modules."""
    return {module.split(".")[1] for module in modules if module.startswith("kdbench.")}


@pytest.mark.parametrize("path", CORE, ids=named)
def test_core_imports_nothing_heavy_on_top(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path, inside=False)} & HEAVY


@pytest.mark.parametrize("path", CORE, ids=named)
def test_core_imports_nothing_that_trains_on_top(path: Path) -> None:
    found = {module for module in imports(path, inside=False) if module.startswith("kdbench.")}
    allowed = {"kdbench.data.place"} if path.name in FETCHING else set()
    wrong = {module for module in found if module.split(".")[1] in TORCH_SIDE}
    assert not {module for module in wrong if not any(module.startswith(name) for name in allowed)}


@pytest.mark.parametrize("path", CORE, ids=named)
def test_core_imports_of_the_data_only_what_is_light(path: Path) -> None:
    found = {module for module in imports(path, inside=True) if module.startswith("kdbench.")}
    wrong = {module for module in found if module.split(".")[1] in TORCH_SIDE}
    light = ("kdbench.data.place", "kdbench.data.neighbours")
    assert not {module for module in wrong if not module.startswith(light)}


@pytest.mark.parametrize("path", TRAINING, ids=named)
def test_what_trains_knows_no_suite(path: Path) -> None:
    assert not parts(imports(path, inside=True)) & UPPER


@pytest.mark.parametrize("path", [path for path in CORE if path.name in NOUNS], ids=named)
def test_nouns_import_nothing_of_kdbench(path: Path) -> None:
    assert parts(imports(path, inside=True)) <= {"claim", "errors", "identity", "weights"}


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("catalog.py", set()),
        ("schema.py", {"catalog", "errors", "spec", "weights"}),
        ("mistakes.py", {"catalog", "printed", "schema", "spec"}),
        ("suite.py", {"claim", "errors", "mistakes", "mistakes_claims", "schema", "spec", "toml", "weights"}),
        ("plan.py", {"catalog", "errors", "mistakes", "schema", "spec"}),
        ("store.py", {"errors", "spec", "upgrades"}),
        ("check.py", {"spec", "stats", "tally"}),
        ("claims.py", {"claim", "spec", "stats"}),
        ("tally.py", {"spec", "stats"}),
        ("holm.py", {"spec", "stats"}),
        ("lint.py", {"printed", "spec"}),
    ],
)
def test_layer_imports_only_lower_ones(name: str, lower: set[str]) -> None:
    assert parts(imports(HOME / name, inside=True)) == lower


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_the_cluster_executor_imports_submitit(path: Path) -> None:
    found = {module.split(".")[0] for module in imports(path, inside=True)}
    assert "submitit" not in found or named(path) == "executors/slurm.py"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_file_is_no_longer_than_it_can_be_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=named)
def test_function_is_no_longer_than_it_can_be_read(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < 40, f"{node.name} has more than 40 lines"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_names_of_files_say_what_is_in_them(path: Path) -> None:
    vague = {"utils", "util", "common", "helpers", "base", "manager", "engine", "misc"}
    assert not {*path.relative_to(HOME).with_suffix("").parts} & vague


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
    suite = str(ROOT / "suites" / "tfkd_cifar100")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROBE.format(heavy=HEAVY_AT_START),
            *(word.replace("SUITE", suite) for word in words),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
