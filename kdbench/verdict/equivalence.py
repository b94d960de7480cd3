"""Evidence that an inexact speed-up does not change the number: a row trained both ways, over seeds.

    results/equivalence/PRECISION.SLUG.DIGEST.json       one test; another set of runs is another file

Seeds are pairs: both ways start from the same weights and see the same views. The two one-sided tests on
the paired differences, at 5 %, ask whether their mean lies within the row's tolerance.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.formatting import columns
from kdbench.quantities import Percent
from kdbench.spec.results import Result
from kdbench.spec.runs import Precision
from kdbench.spec.suites import Cell, Suite
from kdbench.spec.verdicts import Check
from kdbench.store.json_files import load_folder, save_json
from kdbench.verdict.check import values_of
from kdbench.verdict.paired import paired
from kdbench.verdict.stats import LEVEL


class Equivalence(Struct, frozen=True, kw_only=True):
    """What the test gave; accuracies in percent, differences and margin in percentage points."""

    of: Precision
    suite: str
    row: str
    dataset: str
    settings: dict[str, object]
    """What `--set` changed: such a test is kept, but no verdict cites it."""
    margin: float
    """The row's tolerance."""
    seeds: tuple[int, ...]
    exact: tuple[Percent, ...]
    """In float32, seed by seed, at the row's reported epoch."""
    inexact: tuple[Percent, ...]
    runs: tuple[str, ...]
    """The ids of the runs in float32, then of the others."""
    difference: float
    """The mean of inexact minus exact."""
    interval: tuple[float, float]
    """Its 90 % confidence interval."""
    p: float
    """Of the two one-sided tests: small means equivalent within the margin."""
    device: str
    torch: str

    @property
    def shown(self) -> bool:
        """Whether equivalence within the margin was shown."""
        return self.p <= LEVEL


def equivalence_of(suite: Suite, exact: Cell, inexact: Cell, results: Mapping[str, Result]) -> Equivalence:
    """Hold a row's results in another precision against those in float32.

    Args:
        suite: the row's.
        exact: the row with its runs in float32.
        inexact: the same in another precision, of the same seeds.
        results: of all these runs, by id.

    Raises:
        UserError: there are fewer than two seeds, or a run has no result.
    """
    if missing := [name for name in (*exact.ids, *inexact.ids) if name not in results]:
        raise UserError(f"{exact.row.name}: no result of {', '.join(missing)}: see `kdbench check`")
    a, b = (values_of(cell, results, exact.row.report_epoch) for cell in (exact, inexact))
    found, margin = paired(b, a), exact.row.tolerance.top1
    difference = found.difference
    interval = found.interval
    p = found.p_within(margin)
    if difference is None or interval is None or p is None:
        raise UserError(f"{exact.row.name}: a paired test needs two seeds or more; write --seeds 0-2")
    environment = results[inexact.ids[0]].environment
    return Equivalence(
        of=inexact.runs[0].precision,
        suite=suite.name,
        row=exact.row.name,
        dataset=suite.dataset,
        settings={},
        margin=margin,
        seeds=tuple(run.seed for run in exact.runs),
        exact=tuple(a.values()),
        inexact=tuple(b.values()),
        runs=(*exact.ids, *inexact.ids),
        difference=difference,
        interval=interval,
        p=p,
        device=str(environment.get("gpu") or environment.get("cpu")),
        torch=str(environment.get("torch")),
    )


def save(results: Path, record: Equivalence, slug: str) -> Path:
    """Keep a test.

    Raises:
        UserError: the folder cannot be written.
    """
    digest = sha256(" ".join(record.runs).encode()).hexdigest()[:12]
    path = results / "equivalence" / f"{record.of}.{slug}.{digest}.json"
    save_json(path, record)
    return path


def load_all(results: Path) -> list[tuple[str, Equivalence]]:
    """Every test that is kept, with the name of its file.

    Raises:
        UserError: files are broken; all of them at once.
    """
    found = load_folder(
        results / "equivalence", Equivalence, what="equivalence test", hint="remove it and test again"
    )
    return [(path.name, test) for path, test in found.items()]


def evidence(kept: Iterable[tuple[str, Equivalence]], precision: Precision, dataset: str) -> str:
    """What a verdict in this precision cites: the test of most seeds on this data set, or that none is."""
    fitting = [
        (name, each)
        for name, each in kept
        if (each.of, each.dataset) == (precision, dataset) and not each.settings
    ]
    if not fitting:
        return f"{precision}: no test shows that it is equivalent to float32 on {dataset}"
    # The test of most seeds, of equal ones the one of the smallest p-value.
    name, best = max(fitting, key=lambda pair: (len(pair[1].seeds), -pair[1].p))
    how = "equivalent to float32" if best.shown else "not shown to be equivalent to float32"
    where = f"{best.row}, by {len(best.seeds)} seeds on {best.device}"
    return f"{precision}: {how} within {best.margin:g} on {where} (p = {best.p:.2g}, {name})"


def cited(checks: Sequence[Check], sentence: str) -> list[Check]:
    """Checks whose verdicts on an accuracy say on what evidence they stand."""
    found = []
    for check in checks:
        reason = "; ".join(filter(None, [check.top1.reason, sentence]))
        found.append(replace(check, top1=replace(check.top1, reason=reason)) if check.top1.n else check)
    return found


def describe(record: Equivalence) -> list[str]:
    """A test for a terminal: the pairs, the difference, the verdict."""
    pairs = zip(record.seeds, record.exact, record.inexact, strict=True)
    rows = [(seed, f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}") for seed, a, b in pairs]
    low, high = record.interval
    shown = "equivalent" if record.shown else "equivalence not shown: more seeds, or it does differ"
    return [
        columns(rows, ["seed", "float32", record.of, "difference"]),
        "",
        f"{record.difference:+.2f}, 90 % interval {low:+.2f} to {high:+.2f}, margin {record.margin:g}",
        f"p = {record.p:.2g}: {shown}",
    ]
