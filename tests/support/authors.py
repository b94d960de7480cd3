"""Author runs of the small suite, made of numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdbench.spec.author_runs import AuthorRun, AuthorRuns, LogSource, PublishedRuns
from kdbench.store.author_runs import save_author_runs
from kdbench.store.provenance import PROVENANCE_SCHEMA, Normalisation, Provenance, Source

SOURCE = LogSource(
    file="logs.csv",
    sha256="0" * 64,
    repository="github.com/a/b",
    commit="c0ffee0000000000000000000000000000000000",
    path="logs.csv",
)

RELEASED = f"""\
[[imported]]
name = "friend"
model = "digits_cnn"
sha256 = "{"a" * 64}"

[[table]]
id = "released"
loss = {{ name = "ce" }}
rows = [ {{ student = "digits_cnn", released = "friend", top1 = 92.5 }} ]
"""
"""A row of released weights, to be added to a suite of digits."""


def curve(row: str, *top1: float, run: int = 1, path: str = "") -> AuthorRun:
    """An author run with the accuracy after each epoch."""
    return AuthorRun(row=row, run=run, path=path, top1=top1, last=top1[-1], best=max(top1))


def author_runs(*runs: AuthorRun, suite: str = "small") -> AuthorRuns:
    return AuthorRuns(suite=suite, published=(PublishedRuns(source=SOURCE, runs=runs),))


def store_curves(
    folder: Path, curves: Mapping[str, Sequence[Sequence[float]]], suite: str = "small"
) -> AuthorRuns:
    """Keep the curves of rows as author runs of the project in a folder."""
    runs = author_runs(
        *(
            curve(row, *top1, run=number)
            for row, some in curves.items()
            for number, top1 in enumerate(some, 1)
        ),
        suite=suite,
    )
    save_author_runs(folder / "results", runs)
    return runs


def evaluation(**top1: float) -> Provenance:
    """What somebody's digits_cnn gave on data sets, in percent."""
    return Provenance(
        schema=PROVENANCE_SCHEMA,
        name="friend",
        model="digits_cnn",
        classes=10,
        parameters=1,
        dataset=next(iter(top1)),
        sha256="1" * 64,
        lineage=(),
        source=Source(file="friend.pt", format="pytorch", sha256="a" * 64, bytes=1, origin="github.com/a/b"),
        normalisation=Normalisation(dataset="digits", mean=(0.5,), std=(0.5,)),
        data="2" * 64,
        images=1397,
        top1=top1,
        predicted=tuple(range(10)),
    )
