"""One row by its address, SUITE/ROW as `kdbench list rows` prints it: suites/tfkd_cifar100/1.kd/...."""

from glob import escape
from pathlib import Path

from kdbench.catalog import unknown
from kdbench.errors import UserError
from kdbench.plan.expand import expand
from kdbench.spec.suites import Cell, Suite, Variant
from kdbench.suite.load import find_file, load_suite, locate


def find_trained_row(address: str, variant: Variant) -> tuple[Suite, Cell]:
    """As `find_row`, for what needs a run.

    Raises:
        UserError: as `find_row`, or kdbench cannot train the row.
    """
    suite, cell = find_row(address, variant)
    if not cell.runs:
        raise UserError(
            f"{suite.path}: {cell.row.name} has no run: kdbench cannot train it: {cell.row.untrained}"
        )
    return suite, cell


def find_row(address: str, variant: Variant) -> tuple[Suite, Cell]:
    """The suite and the row that an address means; `suites/` may be left out.

    Raises:
        UserError: no such suite or row, or the suite is wrong.
    """
    # Names of suites and of rows may both have slashes: the shortest beginning that is a suite's file counts.
    parts = address.split("/")
    if is_suite(address):
        raise UserError(f"{address} is a suite; write SUITE/ROW as `kdbench list rows {address}` prints it")
    for cut in range(1, len(parts)):
        written = "/".join(parts[:cut])
        found = locate(Path(written))
        if found is not None:
            suite = load_suite(written)
            return suite, _cell(suite, "/".join(parts[cut:]), variant)
    form = "write SUITE/ROW as `kdbench list rows SUITE` prints it"
    if len(parts) > 1:
        try:
            find_file(Path(*parts[:2]) if parts[0] == "suites" else Path(parts[0]))  # names the nearest suite
        except UserError as error:
            raise UserError(*(f"{address}: {form}; {problem}" for problem in error.problems)) from error
    raise UserError(f"no such row: {address}; {form}")


def is_suite(address: str) -> bool:
    """Whether an address means a whole suite."""
    return locate(Path(address)) is not None


def _cell(suite: Suite, name: str, variant: Variant) -> Cell:
    names = [row.name for row in suite.rows]
    if name not in names:
        near = [other for other in names if other.startswith(name.partition("/")[0])] or names
        raise UserError(f"{suite.path}: {unknown('row', name, near)}")
    (cell,) = expand(suite, variant=variant, rows=escape(name))
    return cell
