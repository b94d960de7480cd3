"""Where things lie in this repository."""

import csv
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
SUITES = ROOT / "suites"
GOLDEN = ROOT / "tests" / "golden"
"""Facts that were measured on authors' code."""


def golden_lines(name: str) -> list[dict[str, str]]:
    """A published table as it was read: `tests/golden/NAME.csv`."""
    with (GOLDEN / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
