"""Does torch.compile pay on this machine's CPU? kdbench's step eager against compiled: ratios of CPU seconds.

    python tests/bench/compiled.py [--rounds N] [ROW...]

A worker as `kdbench run` starts it for each way, on one thread, with the same weights and batch; they take
turns (ratios.py). Needs CIFAR-100, in KDBENCH_DATA. Nothing is kept.
"""

import argparse
import os
import sys
from statistics import median
from time import perf_counter

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT))

from tests.bench.ratios import MOBILENET, SHUFFLENET, Case, Side


def compare(row: str, rounds: int) -> str:
    """How many times as fast the compiled step of a row is, and how long it takes to get there."""
    eager, compiled = Side("ours"), Side("ours")
    try:
        first = eager.ready(Case("eager", 0, "step", row))
        started = perf_counter()
        other = compiled.ready(Case("compiled", 0, "compiled", row))
        ready = perf_counter() - started
        pairs = [(eager.seconds(), compiled.seconds()) for _ in range(rounds)]
    finally:
        eager.stop()
        compiled.stop()
    one, two = (median(way) for way in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    return (
        f"{row}: eager {one:.2f} s, compiled {two:.2f} s, ratio {median(ratios):.2f} "
        f"({min(ratios):.2f} - {max(ratios):.2f}); losses {first:.6f} and {other:.6f}; ready in {ready:.0f} s"
    )


def main() -> None:
    """Measure the rows that are named, else one of each small student."""
    parser = argparse.ArgumentParser(description="a compiled step against the eager one")
    parser.add_argument("rows", nargs="*", metavar="ROW", default=[SHUFFLENET, MOBILENET])
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for row in asked.rows:
        print(compare(row, asked.rounds), flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
