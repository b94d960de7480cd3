"""What `kdbench bench` does: a row or a suite -> kinds of runs -> speeds, stored and printed."""

from collections.abc import Callable, Iterable, Iterator
from glob import escape
from pathlib import Path

from msgspec.structs import replace

from kdbench.cost.speeds import Measured, Record, kind, save_record
from kdbench.errors import UserError
from kdbench.formatting import columns
from kdbench.machine import Machine
from kdbench.plan.expand import expand
from kdbench.plan.lookup import find_trained_row
from kdbench.spec.runs import Precision, Run
from kdbench.spec.suites import Cell, Variant
from kdbench.store.files import check_writable
from kdbench.suite.load import find_file, load_suite
from kdbench.workers.call import call_in_subprocess

MEASURE = "kdbench.training.bench:measure_all"


def find_runs(targets: Iterable[str], variant: Variant, precision: Precision = "float32") -> list[Run]:
    """One run of each kind that rows or whole suites, their teachers among them, would train.

    Raises:
        UserError: a target is neither a suite nor a row.
    """
    kinds: dict[str, Run] = {}
    for target in targets:
        for cell in _cells(target, variant, precision):
            for run in reversed(cell.runs[0].lineage):
                kinds.setdefault(kind(run), run)
    return list(kinds.values())


def _cells(target: str, variant: Variant, precision: Precision) -> tuple[Cell, ...]:
    rows = "*"
    try:
        suite = load_suite(find_file(Path(target)))
    except UserError:
        suite, cell = find_trained_row(target, variant)
        rows = escape(cell.row.name)
    return expand(suite, variant=variant, rows=rows, seeds=[0], precision=precision)


def bench(runs: list[Run], machine: Machine, emit: Callable[[str], None]) -> tuple[Record, Path]:
    """Measure runs on this machine; each speed is kept as soon as it is known.

    Args:
        runs: one of each kind.
        machine: where it is measured and kept.
        emit: called with the name of each kind when it was measured.

    Returns:
        What was measured now, and the file in which it is kept with what was measured before.

    Raises:
        UserError: the device or the data are not there, or the results cannot be written.
    """
    check_writable(machine.results / "bench")
    found: list[Record] = []
    for record in call_in_subprocess(machine, MEASURE, runs):
        path = save_record(machine.results, record)
        found.append(record)
        emit(*record.kinds)
    last = found[-1]
    return replace(last, kinds={name: each for one in found for name, each in one.kinds.items()}), path


def describe(record: Record) -> str:
    """The speeds of a record, a line for each kind of run."""
    rows = []
    for name, speed in record.kinds.items():
        parts = (speed.data, speed.step, speed.teacher, speed.evaluation)
        counts = ["-" if each is None else f"{each:,}" for each in (speed.operators, speed.synchronisations)]
        rows.append((name, *map(_rate, parts), *counts))
    heads = ["data", "step", "its teacher", "evaluation", "operators a step", "synchronisations"]
    return columns(rows, ["images/s (share of the roofline)", *heads])


def describe_device(record: Record) -> Iterator[str]:
    """The device and the roofline that its speeds are held against."""
    yield f"{record.device}; torch {record.torch}"
    for precision, best in record.attainable.items():
        yield (
            f"{precision}: {best.flops / 1e9:,.0f} GFLOP/s in a product of matrices or a convolution, "
            f"{best.bytes / 1e9:,.1f} GB/s in a copy"
        )
    yield "The roofline: the arithmetic, or what convolutions and products read and write, at these speeds."


def _rate(part: Measured | None) -> str:
    if part is None:
        return "-"
    return f"{part.rate:,.0f}" + ("" if part.share is None else f" ({100 * part.share:.0f} %)")
