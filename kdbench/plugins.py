"""Code of other packages that joins by entry points: whose it is, which version, and what is wrong with it.

An entry point is looked at when its name is asked for, and its module is imported then. What a package gets
wrong is an error that names the package, and concerns nobody who does not use it.
"""

import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from kdbench.errors import PluginWarning, UserError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T", bound=Struct)
GROUPS = ("losses", "models", "datasets", "distillers")
"""What a package may offer, each as the group `kdbench.GROUP` of its entry points."""
SOURCES = (".py", ".so", ".pyd", ".c", ".cc", ".cpp", ".cu", ".h")
"""The endings of the files of a package that can change a number; data files are not counted."""


class Plugin(Struct, frozen=True, order=True):
    """A package whose code takes part in a run."""

    package: str
    version: str
    source: str
    """The sha256 of its source files."""

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


class BrokenPluginError(UserError, LookupError):
    """A package offers what cannot be used; the sentence names it."""


@cache
def offered(group: str) -> dict[str, tuple["EntryPoint", ...]]:
    """What installed packages offer under `kdbench.GROUP`, by name; nothing is imported.

    A suite names distillers as it names losses: they are among these.
    """
    from importlib.metadata import entry_points

    groups = ("losses", "distillers") if group == "losses" else (group,)
    points = chain.from_iterable(entry_points(group=f"kdbench.{each}") for each in groups)
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in points:
        if point not in found.get(point.name, ()):
            found[point.name] = (*found.get(point.name, ()), point)
    return found


@cache
def any_offered() -> bool:
    """Whether a package on the path offers anything, in 2 ms: importing what `offered` asks takes 50."""
    for folder in sys.path:
        for file in Path(folder).glob("*-info/entry_points.txt"):
            with suppress(OSError):
                if b"[kdbench." in file.read_bytes():
                    return True
    return False


def owner(point: "EntryPoint") -> str:
    """`wkd 0.1.0`, the package that an entry point is of."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def entry_of(group: str, name: str, kind: type[T]) -> T | None:
    """The entry that a package offers by a name; None where none does.

    Args:
        group: `losses`, `models`, ...
        name: as a suite writes it.
        kind: the class of which the entry must be.

    Raises:
        BrokenPluginError: several packages offer the name, or it cannot be imported, is something else, or
            a field of it is of another type than declared.
    """
    points = offered(group).get(name, ())
    if not points:
        return None
    if len(points) > 1:
        owners = " and ".join(map(owner, points))
        raise BrokenPluginError(f"{owners} both offer {name!r} as kdbench.{group}; uninstall one of them")
    loaded = _load(points[0])
    if isinstance(loaded, str):
        raise BrokenPluginError(loaded)
    if not isinstance(loaded.value, kind):
        raise BrokenPluginError(
            f"{_place(points[0])} is a {type(loaded.value).__name__}; it must be a kdbench.catalog."
            f"{kind.__name__}, which names the function in its `code`"
        )
    if loaded.mistakes:
        raise BrokenPluginError(f"{_place(points[0])}: {'; '.join(loaded.mistakes)}")
    return loaded.value


class _Loaded(Struct):
    value: Any
    mistakes: tuple[str, ...]
    """Of the fields of an entry."""


def _field_mistakes(entry: Struct) -> Iterator[str]:
    """The fields of an entry whose values are not as declared: Python makes it of whatever is given."""
    for field in fields(entry):
        value = getattr(entry, field.name)
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            problem, _, inside = str(error).partition(" - at ")
            words = {"object": "Range" if inside else "Mapping", "array": "tuple", "null": "None"}
            for word, in_python in words.items():  # msgspec has JSON's
                problem = problem.replace(word, in_python)
            yield f"{field.name} = {value!r:.80}: {problem[0].lower()}{problem[1:]}"


def _find_package(package: str) -> ModuleSpec | None:
    """Where an installed package is.

    In the folder from which `pip install -e wkd` was called, the folder `wkd` of the project is for Python a
    package too, without an `__init__.py`, and may hide the package in it: one with an `__init__.py` is meant.
    """
    bare = None
    for finder in sys.meta_path:
        spec = finder.find_spec(package, None)
        if spec is not None and spec.origin is not None:
            return spec
        bare = bare or spec
    return bare


def _import(module: str) -> ModuleType:
    """Import a module of an installed package, whichever folder is the current one."""
    # import_module would take the first thing of this name on sys.path, which may be the hiding folder: the
    # package is loaded from where `_find_package` found it, and its modules follow it.
    package = module.partition(".")[0]
    if (
        package not in sys.modules
        and (spec := _find_package(package)) is not None
        and spec.loader is not None
    ):
        made = module_from_spec(spec)
        sys.modules[package] = made
        try:
            spec.loader.exec_module(made)
        except BaseException:
            del sys.modules[package]
            raise
    return import_module(module)


@cache
def _load(point: "EntryPoint") -> _Loaded | str:
    """What an entry point names, or what is wrong with it."""
    before = "torch" in sys.modules
    try:
        _import(point.module)
        value = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's module does at import
        return f"{_place(point)} cannot be imported: {described(error)}{line_of(error, point.module)}"
    if "torch" in sys.modules and not before:
        warnings.warn(
            f"{owner(point)}: {point.module} imports torch, so that commands which only read (plan, check, "
            f"report) take seconds longer; keep its entries in a module that does not import torch",
            PluginWarning,
            stacklevel=2,
        )
    return _Loaded(value, tuple(_field_mistakes(value)) if isinstance(value, Struct) else ())


def _place(point: "EntryPoint") -> str:
    return f"{owner(point)}: the entry point {point.name!r} of {point.group} ({point.value})"


def described(error: BaseException) -> str:
    """`KeyError: 'tau'`, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def line_of(error: BaseException, module: str) -> str:
    """` (my_kd/entries.py, line 7)`, the last line of a module's package on the way to an error, if any.

    Of a syntax error Python's own message names it.
    """
    own = {str(path) for _, path in _sources(module.partition(".")[0])}
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename in own]
    if not frames or isinstance(error, SyntaxError):
        return ""
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"


def code_of(group: str, name: str, code: str) -> Callable[..., Any]:
    """The function `module:function` of an entry.

    Raises:
        BrokenPluginError: it is a package's, and cannot be imported.
    """
    module, _, function = code.partition(":")
    try:
        return getattr(_import(module), function)  # type: ignore[no-any-return]
    except (Exception, SystemExit) as error:
        points = offered(group).get(name, ())
        if module.startswith("kdbench.") or not points:
            raise
        problem = f"{described(error)}{line_of(error, module)}"
        raise BrokenPluginError(f"{_place(points[0])}: its code {code!r}: {problem}") from error


def plugin_of(group: str, name: str, code: str) -> Plugin | None:
    """The package that offers a name, as it is installed now; None where kdbench itself does.

    Args:
        group: `losses`, `models`, ...
        name: as a suite writes it.
        code: of its entry; may lie in another module than the entry, even in another package.
    """
    points = offered(group).get(name, ())
    if not points or points[0].dist is None:
        return None
    # An entry may name code of another package than the one it lies in: both can change a number.
    tops = {points[0].module.partition(".")[0], code.partition(".")[0].partition(":")[0]} - {"kdbench"}
    return Plugin(points[0].dist.name, points[0].dist.version, _digest(tuple(sorted(tops))))


def installed(package: str) -> set[Plugin]:
    """A package, for each source that its entries may have, as runs would record it; empty: not installed."""
    found = set()
    for group in GROUPS:
        for name, points in offered(group).items():
            if points[0].dist is None or points[0].dist.name != package:
                continue
            loaded = _load(points[0])
            code = "kdbench" if isinstance(loaded, str) else str(getattr(loaded.value, "code", "kdbench"))
            found.add(plugin_of(group, name, code))
    return {each for each in found if each is not None}


@cache
def _digest(packages: tuple[str, ...]) -> str:
    """The sha256 of the source files of packages, each under its name; nothing is imported."""
    made = sha256()
    for package in packages:
        for root, path in sorted(_sources(package)):
            content = path.read_bytes()
            made.update(f"{package}/{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
            made.update(content)
    return made.hexdigest()


def _sources(package: str) -> Iterable[tuple[Path, Path]]:
    """The folder of a package, with each of its source files; of a single module, its file."""
    spec = _find_package(package)
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        if spec.origin and Path(spec.origin).is_file():
            yield Path(spec.origin).parent, Path(spec.origin)
        return
    for folder in map(Path, spec.submodule_search_locations):
        for path in folder.rglob("*"):
            if path.suffix in SOURCES and path.is_file():
                yield folder, path


def forget() -> None:
    """Look at the installed packages anew: for who installs one while the process runs."""
    offered.cache_clear()
    any_offered.cache_clear()
    _load.cache_clear()
    _digest.cache_clear()
