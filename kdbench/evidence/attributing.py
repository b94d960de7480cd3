"""What `kdbench attribute` does: a row's variants, trained if asked for, and what they say of its deltas."""

from collections.abc import Sequence

from kdbench import running
from kdbench.address import find_row
from kdbench.errors import UserError
from kdbench.evidence.attribute import Attribution, attribute, variants
from kdbench.store import index, load_results
from kdbench.workload import compare


def attribution(
    address: str, seeds: Sequence[int] | None, *, train: bool, slots: int | None, offline: bool
) -> tuple[Attribution, int]:
    """What the deltas of a row explain, and how many runs are missing for the whole answer.

    Args:
        address: SUITE/ROW.
        seeds: None: the row's.
        train: what is missing, first.
        slots: runs at a time; None: as many as this machine has room for.
        offline: never touch the network.

    Raises:
        UserError: no such row, no delta concerns it, or a stored result is wrong.
    """
    suite, cell = find_row(address, "released")
    found = variants(suite, cell.row.name, seeds or range(cell.row.seeds))
    if not found.switches:
        raise UserError(f"{address}: no delta changes its runs; as printed and as released are the same")
    machine = running.this_machine(offline=offline)
    work = compare([(suite, tuple(found.cells))], found.cells, machine)
    if train:
        running.train_missing(work, machine, running.Way(slots))
        work = compare([(suite, tuple(found.cells))], found.cells, machine)
    ids = [of for each in found.cells for of in each.ids]
    return attribute(found, load_results(index(machine.results), ids)), len(work.runs)
