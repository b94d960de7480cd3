"""Author runs of the small suite, made of numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdbench.spec.author_runs import AuthorRun, AuthorRuns, LogSource, PublishedRuns
from kdbench.store.author_runs import save_author_runs

SOURCE = LogSource(
    file="logs.csv",
    sha256="0" * 64,
    repository="github.com/a/b",
    commit="c0ffee0000000000000000000000000000000000",
    path="logs.csv",
)


def curve(row: str, *top1: float, run: int = 1, path: str = "") -> AuthorRun:
    """An author run with the accuracy after each epoch."""
    return AuthorRun(row=row, run=run, path=path, top1=top1, last=top1[-1], best=max(top1))


def author_runs(*runs: AuthorRun, suite: str = "small") -> AuthorRuns:
    return AuthorRuns(suite=suite, published=(PublishedRuns(source=SOURCE, runs=runs),))


def store_curves(folder: Path, curves: Mapping[str, Sequence[Sequence[float]]]) -> AuthorRuns:
    """Keep the curves of rows as author runs of the project in a folder."""
    runs = author_runs(
        *(
            curve(row, *top1, run=number)
            for row, some in curves.items()
            for number, top1 in enumerate(some, 1)
        )
    )
    save_author_runs(folder / "results", runs)
    return runs
