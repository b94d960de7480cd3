"""How numbers and names are written: two decimals, a sign on every difference, nothing unescaped."""

from typing import NamedTuple

from kdbench.formatting import EMPTY, number, signed
from kdbench.spec.runs import Loss
from kdbench.spec.suites import Row
from kdbench.spec.verdicts import Check, Verdict
from kdbench.verdict.stats import Spread, half_width


def measured(verdict: Verdict, *, sign: bool = False) -> str:
    """`75.98 ± 0.18 (5)`: the mean, half the 90 % interval of its difference, the number of seeds."""
    if verdict.measured is None:
        return EMPTY
    half = half_interval(verdict)
    around = "" if half is None else f" ± {half:.2f}"
    return f"{signed(verdict.measured) if sign else number(verdict.measured)}{around} ({verdict.n})"


def over(row: Row) -> str:
    """` over kd`, after a gain that is one over another row than the baseline; else "".

    The table is enough where student and teacher are the row's own: `2.fn/cnn:mlp` is over `1.kd`, not over
    `1.kd/cnn:mlp`.
    """
    own = row.name.removeprefix(row.table)
    return f" over {row.over.removesuffix(own)}" if row.over else ""


def printed_gain(check: Check) -> str:
    """`+2.67`, `+0.85 over kd`."""
    return signed(check.gain.printed) + ("" if check.gain.printed is None else over(check.row))


def measured_gain(check: Check) -> str:
    """`+2.85 ± 0.56 (2)`, `+0.40 ± 0.10 (2) over kd`."""
    return measured(check.gain, sign=True) + ("" if check.gain.measured is None else over(check.row))


class Quantity(NamedTuple):
    """The accuracy or the gain of a row, as the cells of a table show it."""

    printed: str
    measured: str
    difference: str
    word: str


def accuracy(check: Check) -> Quantity:
    """`71.05 ± 0.16 (3)`, `71.20 ± 0.85 (2)`, `+0.15`, `consistent`."""
    top1 = check.top1
    return Quantity(printed(check.row), measured(top1), signed(top1.difference), top1.word)


def gain(check: Check) -> Quantity:
    """`+2.67`, `+2.85 ± 0.56 (2)`, `+0.18`, `consistent`; dashes for a baseline."""
    difference = signed(check.gain.difference)
    return Quantity(printed_gain(check), measured_gain(check), difference, gain_word(check))


def gain_word(check: Check) -> str:
    """The verdict of the gain; nothing for a baseline, which has none to print or to measure."""
    return EMPTY if check.gain.printed is None and check.gain.measured is None else check.gain.word


def half_interval(verdict: Verdict) -> float | None:
    """Half the 90 % interval that the verdict uses; without a printed number, that of the mean."""
    if verdict.interval is not None:
        low, high = verdict.interval
        return (high - low) / 2
    if verdict.std is None or verdict.n < 2:
        return None
    return half_width(Spread(verdict.std, verdict.n))


def printed(row: Row) -> str:
    """`71.05 ± 0.16 (3)`: the printed accuracy with its std and number of runs, as far as printed."""
    reference = row.reference
    if reference.errors is not None and reference.of is not None:
        return f"{number(reference.top1)} ({reference.errors} errors of {reference.of:,})"
    std = "" if reference.std is None else f" ± {reference.std:.2f}"
    runs = "" if reference.n is None else f" ({reference.n})"
    return number(reference.top1) + (std + runs if reference.top1 is not None else "")


def report_epoch(row: Row) -> str:
    """`last`, `50`, or `best (of equal epochs the earliest)`."""
    if row.report_epoch == "best_validation":
        return "best on held-out images"
    at = str(row.report_epoch)
    return f"{at} (of equal epochs the {row.ties})" if at == "best" else at


def setting(loss: Loss) -> str:
    """`kd (alpha 0.95, tau 20)`."""
    params = ", ".join(f"{name} {value:g}" for name, value in loss.params.items())
    return f"{loss.name} ({params})" if params else loss.name
