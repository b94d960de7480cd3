"""Do torch.compile and bf16 pay on this machine's CPU? kdbench's step in float32 against them: CPU seconds.

    python tests/bench/precisions.py [--rounds N] [--precision PRECISION] [ROW...]

A worker as `kdbench run` starts it for each, on one thread, with the same weights and batch; they take turns
(ratios.py). Needs CIFAR-100, in KDBENCH_DATA. Nothing is kept.
"""

import argparse
import os
import sys
from statistics import median
from time import perf_counter

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT))

from kdbench.spec.runs import Precision
from tests.bench.ratios import MOBILENET, SHUFFLENET, Case, Side

PRECISIONS: tuple[Precision, ...] = ("bf16", "float32-compiled")


def compare(row: str, precision: Precision, rounds: int) -> str:
    """How many times as fast a row's step is in a precision, and how long it takes to get there."""
    usual, other = Side("ours"), Side("ours")
    try:
        first = usual.ready(Case("usual", 0, "step", row))
        started = perf_counter()
        second = other.ready(Case("other", 0, "step", row, precision=precision))
        ready = perf_counter() - started
        pairs = [(usual.seconds(), other.seconds()) for _ in range(rounds)]
    finally:
        usual.stop()
        other.stop()
    one, two = (median(way) for way in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    return (
        f"{row}: float32 {one:.2f} s, {precision} {two:.2f} s, ratio {median(ratios):.2f} "
        f"({min(ratios):.2f} - {max(ratios):.2f}); losses {first:.6f}, {second:.6f}; ready in {ready:.0f} s"
    )


def main() -> None:
    """Measure the rows that are named, else one of each small student."""
    parser = argparse.ArgumentParser(description="a step in other precisions against float32")
    parser.add_argument("rows", nargs="*", metavar="ROW", default=[SHUFFLENET, MOBILENET])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="left out: all")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for precision in asked.precision or PRECISIONS:
        for row in asked.rows:
            print(compare(row, precision, asked.rounds), flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
