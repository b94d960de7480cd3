"""How a bad input is made, for the tables of `tests/faults/test_inputs.py`: functions of the project."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import rmtree

import pytest

from tests.support.permissions import bound_by_permissions
from tests.support.project import change

Make = Callable[[Path], AbstractContextManager[object]]
"""What is done to a project while a command runs."""
SMALL = "suites/small.toml"
RESULT = "results/digits/digits_mlp-ce.s0.*.json"
"""The result of 1.base/digits_mlp, of two seeds of which this is the first."""


def _made(do: Callable[[Path], object]) -> Make:
    @contextmanager
    def inside(project: Path) -> Iterator[None]:
        do(project)
        yield

    return inside


nothing = _made(lambda _: None)


def written(name: str, content: str | bytes) -> Make:
    """A file of this content; the name may be a glob of one that is there."""

    def do(project: Path) -> None:
        path = min(project.glob(name)) if "*" in name else project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return _made(do)


def suite(*edits: tuple[str, str]) -> Make:
    """The small suite with parts replaced."""
    return _made(lambda project: (project / SMALL).write_text(change(*edits), encoding="utf-8"))


def changed(name: str, how: Callable[[bytes], bytes]) -> Make:
    """A file that is there, with its content changed."""

    def do(project: Path) -> None:
        path = min(project.glob(name))
        path.write_bytes(how(path.read_bytes()))

    return _made(do)


def replaced(old: str, new: str) -> Make:
    """The first result, with a part of its text replaced."""

    def how(content: bytes) -> bytes:
        assert old.encode() in content, f"{RESULT} has no {old!r}"
        return content.replace(old.encode(), new.encode(), 1)

    return changed(RESULT, how)


def folder(name: str) -> Make:
    """A folder, in the place of what is there."""

    def do(project: Path) -> None:
        path = min(project.glob(name)) if "*" in name else project / name
        path.unlink(missing_ok=True)
        path.mkdir(parents=True)

    return _made(do)


def link(name: str, to: str) -> Make:
    """A link, in the place of what is there."""

    def do(project: Path) -> None:
        path = min(project.glob(name)) if "*" in name else project / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(to)

    return _made(do)


def instead(name: str) -> Make:
    """A file in the place of a folder."""

    def do(project: Path) -> None:
        rmtree(project / name, ignore_errors=True)
        (project / name).touch()

    return _made(do)


def shut(name: str) -> Make:
    """A file or folder that this user may not read or write; made, if it is not there, as a folder."""

    @contextmanager
    def inside(project: Path) -> Iterator[None]:
        path = min(project.glob(name)) if "*" in name else project / name
        if not path.exists():
            path.mkdir(parents=True)
        before = path.stat().st_mode
        path.chmod(0)
        try:
            with bound_by_permissions():
                yield
        finally:
            path.chmod(before)

    return inside


def variable(name: str, value: str) -> Make:
    """An environment variable; `{}` in it is the project's folder."""

    @contextmanager
    def inside(project: Path) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value.format(project))
            yield

    return inside


def both(*makes: Make) -> Make:
    """One after the other."""

    @contextmanager
    def inside(project: Path) -> Iterator[None]:
        if not makes:
            yield
            return
        with makes[0](project), both(*makes[1:])(project):
            yield

    return inside


def sparse(name: str, size: int) -> Make:
    """A file of so many bytes, none of them written."""

    def do(project: Path) -> None:
        path = min(project.glob(name)) if "*" in name else project / name
        os.truncate(path, size)

    return _made(do)
