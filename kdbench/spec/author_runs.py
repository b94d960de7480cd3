"""The nouns of author runs: what authors published of their own trainings, never trained by kdbench."""

from typing import Literal

from msgspec import Struct

from kdbench.quantities import Count, Line, Percent, Positive
from kdbench.spec.runs import ReportEpoch
from kdbench.spec.weights import Digest

AUTHOR_RUNS_SCHEMA = 1
"""The version of the JSON of a file of author runs."""


class LogSource(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The file that author runs were read from."""

    file: Line
    """Its name, without the folder."""
    sha256: Digest
    repository: Line = ""
    """Where it was published, as `github.com/OWNER/NAME`."""
    commit: Line = ""
    path: Line = ""
    """Its place in the repository."""

    def __str__(self) -> str:
        return self.place("")

    def place(self, path: str) -> str:
        """`github.com/OWNER/NAME@COMMIT:PATH` of a run's own log, or ("") of the file that was read."""
        path = path or self.path
        if not self.repository:
            return path or self.file
        at = f"@{self.commit[:12]}" if self.commit else ""
        return f"{self.repository}{at}" + (f":{path}" if path else "")


class AuthorRun(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One training of the authors: a curve, or what is published of it."""

    row: Line
    """The row of the suite that it belongs to."""
    run: Count
    """Its number among the runs of the row. Equal numbers of two rows are compared in pairs."""
    path: Line = ""
    """Its own log in the repository, where the file that was read holds the runs of several."""
    top1: tuple[Percent, ...] = ()
    """The test accuracies in the order of `epochs`; empty where no curve is published."""
    epochs: tuple[Positive, ...] = ()
    """The epochs of `top1`, where they are not 1, 2, 3 and so on."""
    last: Percent | None = None
    best: Percent | None = None
    value: Percent | None = None
    """Published without an epoch: it stands for the row's reported epoch, whichever that is."""
    note: Line = ""
    """What was noticed about its log, for example epochs that are missing."""

    @property
    def table(self) -> str:
        """The table of the suite that its row stands in."""
        return self.row.partition("/")[0]

    @property
    def last_epoch(self) -> int:
        """The last epoch of its curve; 0 without one."""
        return self.epochs[-1] if self.epochs else len(self.top1)

    def at(self, report_epoch: ReportEpoch) -> float | None:
        """Its accuracy at a reported epoch; None where it is not published."""
        if report_epoch == "last":
            return self.last
        if report_epoch == "best":
            return self.best
        if report_epoch == "best_validation":
            return None
        epochs = self.epochs or range(1, len(self.top1) + 1)
        return dict(zip(epochs, self.top1, strict=True)).get(report_epoch)


class PublishedRuns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The runs that were read from one file."""

    source: LogSource
    runs: tuple[AuthorRun, ...]


class AuthorRuns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All author runs of a suite: one file of results/author_runs/."""

    suite: str
    published: tuple[PublishedRuns, ...] = ()
    kind: Literal["author run"] = "author run"
    schema: int = AUTHOR_RUNS_SCHEMA

    @property
    def runs(self) -> tuple[AuthorRun, ...]:
        """Those of all files."""
        return tuple(run for each in self.published for run in each.runs)
