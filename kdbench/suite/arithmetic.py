"""The paper's own arithmetic: a printed gain is the printed accuracy minus the printed baseline."""

from collections.abc import Callable, Hashable, Iterable

from kdbench.spec.suites import Row

ROUNDING = 0.005 + 1e-9
"""Percentage points by which a difference of numbers of two decimals may be off."""


def printed_baselines(rows: Iterable[Row]) -> Callable[[Row], float | None]:
    """Look up what a row's printed gain is over: the row that it names, else its student's printed baseline.

    The baseline is that of its table of the paper, else of any table.

    Returns:
        A function of a row: that accuracy in percent, None where none is printed.
    """
    in_table: dict[tuple[Hashable, ...], float] = {}
    anywhere: dict[tuple[Hashable, ...], float] = {}
    named: dict[str, float | None] = {}
    for row in rows:
        named[row.name] = row.reference.top1
        if row.is_baseline and row.reference.top1 is not None:
            in_table.setdefault((row.printed_table, *row.trained_on), row.reference.top1)
            anywhere.setdefault(row.trained_on, row.reference.top1)

    def find(row: Row) -> float | None:
        if row.over:
            return named.get(row.over)
        return in_table.get((row.printed_table, *row.trained_on), anywhere.get(row.trained_on))

    return find


def gain_error(row: Row, baseline: float | None) -> float | None:
    """By how much the printed gain is not value minus baseline, in points; None where it is.

    A row that does not print all three figures has nothing to add up.
    """
    printed = row.reference
    if baseline is None or printed.top1 is None or printed.gain is None:
        return None
    error = printed.gain - (printed.top1 - baseline)
    return error if abs(error) > ROUNDING else None
