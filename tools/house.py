"""The shape of the house: folders, files, lines, and which imports go where.

    python tools/house.py [FOLDER]     a repository's; left out: this one's

An import goes from a folder only to itself or to one below it in `ORDER`; those in functions and those for
type checkers count too. tests/test_layers.py holds the rule.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ORDER = (
    *(
        "__main__",
        "cli",
        "commands",
        "__init__",
        "upkeep",
        "cluster",
        "evidence",
        "run",
        "report",
        "importing",
        "new",
    ),
    *("verdict", "training", "cost", "plan", "models", "data", "suite", "workers", "store", "spec"),
    *(
        "device",
        "machine",
        "toml",
        "formatting",
        "grouping",
        "catalog",
        "plugins",
        "quantities",
        "errors",
        "version",
    ),
)
"""The folders of kdbench/, and the files beside them, in the order in which the data pass them."""
PACKAGE = "kdbench"

Graph = Mapping[str, set[str]]
"""By module: the modules of kdbench that it imports."""


def modules(root: Path) -> dict[str, Path]:
    """The files of kdbench by the names that imports give them."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    """A file's syntax, which several rules look at."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> set[str]:
    """All that a file imports, wherever the import stands; what `from a import b` names, as `a.b` too."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def graph(root: Path) -> Graph:
    """Which module of kdbench imports which; packages are left out where a module of theirs is meant."""
    known = modules(root)
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    found = {}
    for name, path in known.items():
        found[name] = {other for other in imported(path) if other in known and other not in packages} - {name}
    return found


def room(module: str) -> str:
    """The folder of a module, or its own name where it lies beside the folders."""
    _, _, inside = module.partition(".")
    return inside.partition(".")[0] or "__init__"


def arrows_up(imports: Graph, order: tuple[str, ...] = ORDER) -> list[str]:
    """The imports that go to a folder above."""
    found = []
    for module, others in imports.items():
        above = [other for other in sorted(others) if order.index(room(other)) < order.index(room(module))]
        found += [f"{module} imports {other}" for other in above]
    return found


def circles(imports: Graph) -> list[list[str]]:
    """The modules that import each other by way of others: Tarjan's strongly connected components."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for other in imports.get(module, ()):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            start = path.index(module)
            if len(path) - start > 1:
                found.append(sorted(path[start:]))
            del path[start:]

    for module in imports:
        if module not in number:
            visit(module)
    return found


def lines(folder: Path) -> int:
    """Lines of Python below a folder."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


def describe(root: Path) -> Iterator[str]:
    """The shape of a repository's house."""
    imports = graph(root)
    known = modules(root)
    folders = defaultdict(list)
    for name, path in known.items():
        folders[room(name)].append(path)
    arrows = {(room(module), room(other)) for module, others in imports.items() for other in others}
    across = [(one, other) for one, other in arrows if one != other]
    yield f"{len(folders)} folders and files beside them, {len(known)} files, {len(across)} arrows between"
    if set(folders) <= set(ORDER):
        yield f"{len(arrows_up(imports))} imports up"
    yield f"{len(circles(imports))} circles"
    yield f"{lines(root / PACKAGE):,} lines in {PACKAGE}/, {lines(root / 'tests'):,} in tests/"


if __name__ == "__main__":
    print("\n".join(describe(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]))))
