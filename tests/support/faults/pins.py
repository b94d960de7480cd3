"""The pinned ids of a sample of every suite's rows, in pins.json.

    python tests/support/faults/pins.py

adds those of new suites. An id that is pinned changes only together with spec.PROTOCOL: then it writes all of
them anew. Anywhere else a changed id means that stored results are orphaned, or that two versions of kdbench
would give different numbers under one name.
"""

import json
import sys
from collections.abc import Iterator

from tests.support.places import ROOT, SUITES

sys.path.insert(0, str(ROOT))

from kdbench.spec.runs import PROTOCOL
from kdbench.spec.suites import Row, Suite, Variant
from tests.support.suites import first_cells, shipped

PINS = ROOT / "tests" / "faults" / "pins.json"
NAMES = sorted(path.stem for path in SUITES.glob("*.toml"))


def sample(suite: Suite) -> Iterator[Row]:
    """The first row of each of its losses, and the last row, of those that are trained."""
    trained = [row for row in suite.rows if not row.untrained]
    seen = set()
    for row in trained:
        if row.loss.name not in seen or row is trained[-1]:
            seen.add(row.loss.name)
            yield row


def ids(suite: str) -> dict[str, str]:
    """By variant and row: the id of seed 0, of the sample and of every row that is pinned."""
    pinned = json.loads(PINS.read_bytes())["suites"].get(suite, {})
    names = {row.name for row in sample(shipped(suite))} | {key.partition(" ")[2] for key in pinned}
    variants: tuple[Variant, ...] = ("released", "printed")
    return {
        f"{variant} {cell.row.name}": cell.ids[0]
        for variant in variants
        for cell in first_cells(suite, variant)
        if cell.row.name in names
    }


def main() -> None:
    """Add to pins.json what it lacks; what is pinned stays."""
    pins = json.loads(PINS.read_bytes()) if PINS.exists() else {}
    if pins.get("protocol") != PROTOCOL:
        pins = {"protocol": PROTOCOL, "suites": {}}
    for name in NAMES:
        pins["suites"][name] = ids(name) | pins["suites"].get(name, {})
    PINS.write_text(json.dumps(pins, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
