"""What training runs again has shown, in a line."""

from collections.abc import Iterable

from kdbench.formatting import plural
from kdbench.store.records import Index, read_repeats, read_results


def describe_repeats(there: Index, ids: Iterable[str]) -> str:
    """How many of these runs gave their stored accuracies again, and by how much others differ; "" of none.

    Args:
        there: the results folder, with the newest repeat of each run.
        ids: the runs that were trained again.
    """
    repeats, _ = read_repeats(there, ids)
    stored = read_results(there, repeats).records
    largest = []
    for run, first in stored.items():
        pairs = zip(first.curve.top1, repeats[run][-1].curve.top1, strict=True)
        largest.append(max(abs(again - before) for before, again in pairs))
    if not largest:
        return ""
    differing = [difference for difference in largest if difference > 0]
    again = f"{plural(len(largest), 'run')} trained again: {len(largest) - len(differing)} gave the stored "
    again += "accuracies of every epoch exactly"
    if differing:
        again += f"; {len(differing)} did not, and differ by at most {max(differing):.2f} points in an epoch"
    return again
