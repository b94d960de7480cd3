"""Load: 20,000 runs in one results folder, and thousands of runs queued at once on the local executor.

    python tests/support/faults/load.py status [--runs 20000]
    python tests/support/faults/load.py queue [--runs 2000] [--workers 2]

`status` prints the seconds that `kdbench status` takes. `queue` trains runs of one epoch on 32 images and
prints, for the driver and its workers together, the file handles, threads and memory when a tenth was done
and when all was: what is held must not grow with what was done.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import msgspec
from msgspec.structs import replace

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT))

from kdbench.cluster import commands
from kdbench.machine import Data, Folders, Local, Machine
from kdbench.plan.expand import expand
from kdbench.plan.selection import Selection
from kdbench.run.dispatch import dispatch
from kdbench.run.executor import LocalExecutor
from kdbench.run.status import describe
from kdbench.spec.events import Done, Failed
from kdbench.suite.load import load_suite
from tests.support.build import make_result
from tests.support.faults.project import digits

HEAD = """
[suite]
paper = "A paper"
dataset = "digits"
seeds = 1000
[tolerance]
top1 = 1
gain = 1
[recipe]
epochs = 2
batch_size = 32
lr = 0.1
"""
TABLE = """
[[table]]
id = "{number}"
loss = {{ name = "lsr", epsilon = 0.{number} }}
rows = [{{ student = "digits_mlp" }}]
"""


def many_results(folder: Path, runs: int) -> None:
    """A project whose suite asks for so many runs, all but one in a hundred with a result."""
    tables = [TABLE.format(number=number) for number in range(100, 100 + runs // 1000)]
    (folder / "suite.toml").write_text(HEAD + "".join(tables), encoding="utf-8")
    into = folder / "results" / "digits"
    into.mkdir(parents=True)
    for cell in expand(load_suite(folder / "suite.toml")):
        whole = make_result(cell.runs[0], 60.0, 70.0)
        for number, (run, name) in enumerate(zip(cell.runs, cell.ids, strict=True)):
            if number % 100:
                content = msgspec.json.encode(replace(whole, id=name, run=run))
                (into / f"{run.slug}.s{run.seed}.{name}.json").write_bytes(content)


def time_status(runs: int) -> dict[str, float]:
    """Seconds of `kdbench status` in a process that has started: by the clock, and of its own work."""
    with TemporaryDirectory(prefix="kdbench-load-") as name:
        folder = Path(name)
        many_results(folder, runs)
        before = Path.cwd()
        os.chdir(folder)
        try:
            start, worked = perf_counter(), process_time()
            states, _ = commands.states(Selection(suites=("suite",)))
            text = "\n".join(describe(states))
            seconds, worked = perf_counter() - start, process_time() - worked
        finally:
            os.chdir(before)
        assert text.startswith(f"{runs - runs // 100} done, {runs // 100} waiting"), text[:200]
        return {"runs": len(states), "seconds": round(seconds, 2), "of this process": round(worked, 2)}


def held(pids: list[int]) -> dict[str, float]:
    """File handles, threads and resident MB of processes."""
    handles = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)  # noqa: PTH208 - a count
    status = [Path(f"/proc/{pid}/status").read_text("ascii") for pid in pids]
    lines = [line.split() for text in status for line in text.splitlines()]
    total = {
        name: sum(int(line[1]) for line in lines if line[0] == f"{name}:") for name in ("Threads", "VmRSS")
    }
    return {"handles": handles, "threads": total["Threads"], "megabytes": round(total["VmRSS"] / 1000, 1)}


def queue(runs: int, workers: int) -> dict[str, object]:
    """What is held when a tenth of the runs is done, and when all are."""
    jobs = [digits(epochs=1, train_size=32, test_size=32, lr=0.001 * (1 + number)) for number in range(runs)]
    with TemporaryDirectory(prefix="kdbench-load-") as name:
        folders = Folders(results="results", scratch="scratch")
        local, data = Local(device="cpu"), Data(folder=f"{name}/data", offline=True)
        machine = Machine(local=local, data=data, folders=folders, root=name)
        executor = LocalExecutor(machine, workers)
        done, failed, seen, start = 0, 0, [], perf_counter()
        try:
            for event in dispatch(jobs, executor, keep={}, cohorts=False):
                done += isinstance(event, Done)
                failed += isinstance(event, Failed)
                if isinstance(event, Done) and done in (runs // 10, runs):
                    pids = [worker.process.pid for worker in executor.workers]
                    seen.append(held([os.getpid(), *(pid for pid in pids if pid)]))
        finally:
            executor.close()
        took = round(perf_counter() - start, 1)
        return {
            "runs": done,
            "failed": failed,
            "seconds": took,
            "at a tenth": seen[0],
            "at the end": seen[-1],
        }


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["status", "queue"])
    parser.add_argument("--runs", type=int)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    found = (
        time_status(asked.runs or 20_000)
        if asked.what == "status"
        else queue(asked.runs or 2000, asked.workers)
    )
    print(json.dumps(found, indent=1))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
