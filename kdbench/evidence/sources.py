"""Where results may come from: a folder, a commit of this repository, or what the papers print."""

import io
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from kdbench.errors import UserError
from kdbench.store.records import Index, index

PRINTED = "printed"
"""The word for the papers' own numbers."""


@contextmanager
def results_of(source: str, results: Path) -> Iterator[tuple[Index, Callable[[str], str]]]:
    """The results of a source, listed; files of a commit exist only inside the context.

    Args:
        source: a folder, or anything that git takes for a commit.
        results: this machine's results folder: what is looked at in a commit.

    Returns:
        The index, and a function that names a commit's files as git does, `HEAD:results/...`, in a sentence.

    Raises:
        UserError: neither a folder nor a commit.
    """
    if Path(source).is_dir():
        yield index(Path(source)), str
        return
    with TemporaryDirectory(prefix="kdbench-") as folder:
        inside = Path(folder)
        where = _extract(source, results, inside)
        yield index(inside / where), lambda problem: problem.replace(f"{inside}/", f"{source}:")


def _extract(commit: str, results: Path, into: Path) -> Path:
    """The results folder of a commit, written into another folder; its path there."""
    top = _git(["rev-parse", "--show-toplevel"], results, commit).decode().strip()
    _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"], results, commit)
    where = results.resolve().relative_to(Path(top).resolve())
    if not _git(["ls-tree", "--name-only", commit, "--", str(where)], Path(top), commit):
        raise UserError(f"{commit}: this commit has no folder {where}")
    packed = _git(["archive", "--format=zip", commit, "--", str(where)], Path(top), commit)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(into)
    return where


def _git(words: list[str], folder: Path, source: str) -> bytes:
    """What git says, asked from the nearest folder that exists."""
    while not folder.is_dir():
        folder = folder.parent
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True, timeout=60)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(
            f"{source}: neither a folder of results nor a commit of this repository; write a folder's path, "
            f"a commit, or `{PRINTED}`"
        ) from error
    return done.stdout
