"""How many seeds a verdict takes, as a table: `kdbench power`, and docs/verdicts.md."""

from collections.abc import Callable
from math import isfinite
from typing import TypeVar

from kdbench.errors import UserError
from kdbench.formatting import table
from kdbench.verdict.stats import power

N = TypeVar("N", int, float)


def power_table(*, margin: float, difference: float, stds: str, seeds: str) -> str:
    """The probabilities of `reproduced`, in percent, as Markdown: a line for each number of seeds.

    Args:
        margin: the tolerance, in percentage points.
        difference: the true difference, in percentage points; the printed mean counts as exact.
        stds: the true standard deviations of one seed, in points, with commas between.
        seeds: the numbers of seeds, with commas between.

    Raises:
        UserError: something is no number, or out of range.
    """
    problems: list[str] = []
    if not (isfinite(margin) and margin > 0):
        problems.append(f"--margin {margin}: a tolerance is above 0")
    if not isfinite(difference):
        problems.append(f"--difference {difference}: a difference is a finite number")
    spreads = _numbers("--std", stds, float, 0.0, problems)
    counts = _numbers("--n", seeds, int, 1, problems)
    if problems:
        raise UserError(*problems)
    body = []
    for n in counts:
        percents = [100 * power(difference, margin, std, n) for std in spreads]
        body.append([str(n), *(f"{percent:.1f}" for percent in percents)])
    heads = ["seeds", *(f"{std:g}" for std in spreads)]
    return table("pipe", heads, body, "r" * len(heads))


def _numbers(option: str, text: str, kind: Callable[[str], N], above: N, problems: list[str]) -> list[N]:
    """The numbers of an option; one that is no number, or not above the least, is a problem."""
    try:
        values = [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(isfinite(value) and above < value <= 10_000 for value in values):
        problems.append(f"{option} {text!r:.80}: write numbers above {above} with commas between")
        return []
    return values
