"""What it costs to start: the CPU seconds of commands, held against those of a bare interpreter.

    python tests/bench/starts.py [--rounds N]

Both alternate, in processes of their own; the medians are compared. Python compiles each file when it is
first imported: after a change of the code, measure twice.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

from tests.support.places import ROOT

BARE = [sys.executable, "-c", "pass"]
START = "from kdbench.cli import main; main()"
"""What the script `kdbench` does."""
BARS = {"--help": 3.0, "plan suites/tfkd_cifar100": 6.0}
"""By command: how many bare interpreters it may cost."""


def environment() -> dict[str, str]:
    """This one's, in which Python keeps what it has compiled: otherwise that is half of a command's time."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(ROOT)}


def seconds(words: list[str]) -> float:
    """The CPU seconds of a process.

    Raises:
        CalledProcessError: it ends with another code than 0.
    """
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds_to_first_line(command: str, folder: Path) -> tuple[float, str]:
    """The CPU seconds of `kdbench COMMAND` until its first line, and that line; then it is ended."""
    words = [sys.executable, "-c", START, *command.split()]
    with subprocess.Popen(
        words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        assert started.stdout is not None
        line = started.stdout.readline()
        ticks = Path(f"/proc/{started.pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:13]
        started.terminate()  # Ctrl-C is ignored by what a shell starts in the background
        started.communicate()
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), line


def measured(rounds: int) -> dict[str, float]:
    """How many bare interpreters each command costs."""
    commands = {each: [sys.executable, "-c", START, *each.split()] for each in BARS}
    found: dict[str, list[float]] = {each: [] for each in commands}
    bare = []
    for _ in range(rounds):
        bare.append(seconds(BARE))
        for each, words in commands.items():
            found[each].append(seconds(words))
    return {each: median(some) / median(bare) for each, some in found.items()}


def main() -> int:
    """Measure; 1 where a command is above its bar."""
    parser = argparse.ArgumentParser(description="what it costs to start")
    parser.add_argument("--rounds", type=int, default=9)
    ratios = measured(parser.parse_args().rounds)
    for name, ratio in ratios.items():
        print(f"kdbench {name}: {ratio:.1f} bare interpreters, bar {BARS[name]:.0f}", flush=True)  # noqa: T201
    return int(any(ratio > BARS[name] for name, ratio in ratios.items()))


if __name__ == "__main__":
    sys.exit(main())
