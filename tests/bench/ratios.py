"""kdbench against the usual way and the best plain loop: ratios of seconds, and the bars they must clear.

    python tests/bench/ratios.py [NAME...] [--rounds N] [--images N] [--json] [--keep]
    python tests/bench/ratios.py [NAME...] --device cuda ...

The usual way is reference_step.py, for KD, AT and CRD reference_distillers.py; the plain loop plain_loop.py.
Both sides have the same weights, batches and arithmetic, which is checked first. Each lives in a process of
its own, kdbench's being a worker as `kdbench run` starts it; they take turns, round by round. The plain loop
is one at its best: it is timed in kdbench's own worker, whose C library keeps memory in huge pages, so that
neither of the two gets more of these.

On the CPU both have one thread, and CPU seconds are compared: they are what a quiet machine's clock would
show, and other people's work on the machine does not count. On a GPU it is the clock's seconds. The precision
in a name is kdbench's; the usual way has what PyTorch does there by itself: convolutions in tf32.

--keep writes them to results/bench/ratios/, with the device's name, beside what was measured there before.
Exit code 1 where a median is below its bar. Needs CIFAR-100, in KDBENCH_DATA.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from math import isclose
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT))

import msgspec
from msgspec import Struct

from kdbench.device import Device, device_at_hand
from kdbench.machine import Local, Machine
from kdbench.spec.runs import Loss, Precision, Run
from kdbench.store.files import write
from kdbench.workers.process import Worker, prepare_worker

SIDES = "tests.bench.sides"
"""What each side does, by name: functions of a case, in a file that imports torch."""


class Case(NamedTuple):
    """What is compared."""

    name: str
    at_least: float
    sort: str
    """Which function of the sides."""
    row: str
    batch_size: int = 128
    rows: int = 1
    """So many runs are trained beside each other; the usual side's seconds for one are taken so often."""
    images: int = 0
    """Trained on in an epoch, and a fifth as many tested; 0: all there are."""
    alike: float = 1e-3
    """The largest relative difference of the values that both sides give, a loss or a mean."""
    precision: Precision = "float32"
    """kdbench's."""
    suite: str = "tfkd_cifar100"
    against: str = "usual"
    """Which opponent."""


MOBILENET, SHUFFLENET = "1.kd/mobilenetv2:resnet18", "1.kd/shufflenetv2:resnet18"
CASES = (
    Case("views", 15, "views", SHUFFLENET, alike=0.05),
    Case("step_mobilenetv2", 1.3, "step", MOBILENET),
    Case("step_shufflenetv2", 1.2, "step", SHUFFLENET, 64),
    Case("cohort_mobilenetv2", 1.7, "step", MOBILENET, rows=4),
    Case("cohort_shufflenetv2", 1.7, "step", SHUFFLENET, 64, rows=4),
    Case("cached_mobilenetv2", 2.4, "cached", MOBILENET),
    Case("cached_shufflenetv2", 2.2, "cached", SHUFFLENET, 64),
    Case("eval_resnet18", 1.2, "evaluate", "1.baseline/resnet18"),
    Case("eval_mobilenetv2", 2.5, "evaluate", "1.baseline/mobilenetv2"),
    Case("epoch", 2.0, "epoch", SHUFFLENET, 64, rows=4, images=5000, alike=0.1),
)
CRD = Case("", 1.3, "distil", "", 64, suite="crd_cifar100", alike=0.3)
"""Some batches of ResNet20 taught by ResNet56, data path and all; drawn otherwise, so losses differ."""
DISTILLER_CASES = (
    CRD._replace(name="kd_resnet", row="1.kd/resnet20:resnet56"),
    CRD._replace(name="at", row="1.at/resnet20:resnet56"),
    CRD._replace(name="crd", row="1.crd/resnet20:resnet56"),
)
PLAIN = Case("", 1.0, "epoch", "", images=1280, alike=0.02, against="plain")
"""An epoch against the best plain loop, from nothing to a result: network, steps, evaluation, checkpoint."""
RESNET = PLAIN._replace(suite="fnkd_cifar100")
PLAIN_CASES = (
    RESNET._replace(name="plain_resnet20", row="baseline/resnet20_v2"),
    RESNET._replace(name="plain_kd_resnet20", row="kd/resnet20_v2:resnet56_v2"),
    PLAIN._replace(name="plain_shufflenetv2", row="1.baseline/shufflenetv2", batch_size=64),
    PLAIN._replace(name="plain_kd_shufflenetv2", row=SHUFFLENET, batch_size=64),
    PLAIN._replace(name="plain_mobilenetv2", row="1.baseline/mobilenetv2"),
    PLAIN._replace(name="plain_kd_mobilenetv2", row=MOBILENET),
    PLAIN._replace(name="plain_cohort", at_least=1.6, row=SHUFFLENET, batch_size=64, rows=4),
    PLAIN._replace(name="plain_cached", at_least=1.7, sort="kept_epoch", row=SHUFFLENET, batch_size=64),
)
ROWS = (
    ("resnet18", "5.tfkd_self/resnet18:self", 128),
    ("mobilenetv2", MOBILENET, 128),
    ("shufflenetv2", SHUFFLENET, 64),
)
GPU_BARS: dict[Precision, float] = {"tf32": 4, "bf16": 8}
GPU_CASES = tuple(
    Case(f"row_{student}_{precision}", bar, "epoch", row, size, alike=0.1, precision=precision)
    for precision, bar in GPU_BARS.items()
    for student, row, size in ROWS
)
"""An epoch of one row on all images, the evaluation included."""


ALL_CASES = (*CASES, *DISTILLER_CASES, *PLAIN_CASES, *GPU_CASES)
BARS = {case.name: case.at_least for case in ALL_CASES}


class Ratio(Struct, frozen=True):
    """How many times as fast kdbench is; the median, smallest and largest of the rounds."""

    name: str
    ratio: float
    min: float
    max: float
    rounds: int


def runs_of(case: Case) -> list[Run]:
    """The case's row as the authors' code trains it, at several temperatures where it has several rows."""
    from msgspec.structs import replace

    from kdbench.plan.expand import expand
    from kdbench.suite.load import load_suite

    suite = load_suite(ROOT / "suites" / f"{case.suite}.toml")
    settings = {"batch_size": case.batch_size}
    if case.sort.endswith("epoch"):
        settings["epochs"] = 1
    if case.images:
        settings |= {"train_size": case.images, "test_size": case.images // 5}
    (cell,) = expand(suite, rows=case.row, seeds=[0], settings=settings, precision=case.precision)
    (run,) = cell.runs
    if case.rows == 1:
        return [run]
    taus = [20.0 / 2**number for number in range(case.rows)]
    return [replace(run, loss=Loss(run.loss.name, {**run.loss.params, "tau": tau})) for tau in taus]


def machine_with(device: str) -> Machine:
    """This machine, whatever its benchmark.toml says."""
    return Machine(root=str(ROOT), local=Local(device=device, threads=1))


def serve(pipe: Connection, machine: Machine) -> None:
    """A side's process: a case is made ready once; whenever asked, it is done, and its seconds are sent.

    Each request names the side whose work it is.
    """
    prepare_worker(machine, None)
    from importlib import import_module

    sides = import_module(SIDES)
    with sides.context_of(machine) as context:
        acts: dict[str, Callable[[], float]] = {}
        while True:
            try:
                asked, case = pipe.recv()
            except EOFError:
                return
            sides.choose_algorithms(asked, context)
            if case is not None:
                acts[asked] = getattr(sides, f"{asked}_{case.sort}")(runs_of(case), context)
            clock = process_time if context.device.type == "cpu" else perf_counter
            started = clock()
            value = acts[asked]()
            pipe.send((value, clock() - started))


class Side:
    """A process that does one side's work when it is asked to.

    Args:
        side: its name in sides.py.
        device: of its machine.
        beside: the side in whose process it is done.
    """

    def __init__(self, side: str, device: str = "cpu", beside: "Side | None" = None) -> None:
        self.side = side
        self.pipe: Connection
        self.process: Any
        machine = machine_with(device)
        if beside is not None:
            self.pipe, self.process = beside.pipe, beside.process
            return
        if side != "usual":
            worker = Worker(machine, serve)
            self.pipe, self.process = worker.pipe, worker.process
            return
        os.environ.pop("GLIBC_TUNABLES", None)  # as workers have them: they may have been set by one
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, machine), daemon=True)
        self.process.start()
        theirs.close()

    def ready(self, case: Case) -> float:
        """Make a case ready and do it once; what it gives."""
        return self._ask(case)[0]

    def seconds(self) -> float:
        """Do the case; its seconds."""
        return self._ask(None)[1]

    def stop(self) -> None:
        """Let the process clean up and end."""
        self.pipe.close()
        self.process.join()

    def _ask(self, what: Case | None) -> tuple[float, float]:
        self.pipe.send((self.side, what))
        found: tuple[float, float] = self.pipe.recv()
        return found


@contextmanager
def both(device: str = "cpu", against: str = "usual") -> Iterator[tuple[Side, Side]]:
    """An opponent and kdbench: each in a process of its own, the plain loop in kdbench's."""
    ours = Side("ours", device)
    other = Side(against, device, beside=ours if against == "plain" else None)
    try:
        yield other, ours
    finally:
        for side in (ours, other):
            side.stop()


def compare(case: Case, rounds: int, other: Side, ours: Side) -> Ratio:
    """Let both sides do a case in turns.

    Raises:
        AssertionError: they do not compute the same.
    """
    values = other.ready(case), ours.ready(case)
    if not isclose(*values, rel_tol=case.alike):
        opponent = "the plain loop" if case.against == "plain" else "the usual way"
        raise AssertionError(f"{case.name}: {opponent} gives {values[0]}, kdbench {values[1]}")
    found = [case.rows * other.seconds() / ours.seconds() for _ in range(rounds)]
    middle, least, most = (round(pick(found), 3) for pick in (median, min, max))
    return Ratio(case.name, middle, least, most, rounds)


class Kept(Struct, frozen=True):
    """What was measured on one machine."""

    device: Device
    torch: str
    ratios: list[Ratio]


def keep(ratios: Sequence[Ratio], folder: Path, device: Device) -> Path:
    """Write ratios beside those of other names that were measured on this machine before."""
    path = folder / f"{device.stem}.json"
    before = msgspec.json.decode(path.read_bytes(), type=Kept).ratios if path.exists() else []
    known = {each.name: each for each in (*before, *ratios)}
    order = [case.name for case in ALL_CASES]
    record = Kept(device, version("torch"), sorted(known.values(), key=lambda each: order.index(each.name)))
    write(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    return path


def table(ratios: Sequence[Ratio]) -> str:
    """Markdown, as the README has it."""
    lines = ["| name | times as fast | rounds from - to | bar |", "| --- | --- | --- | --- |"]
    lines += [f"| `{r.name}` | {r.ratio:.2f} | {r.min:.2f} - {r.max:.2f} | {BARS[r.name]} |" for r in ratios]
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Measure the cases that are named, else all."""
    parser = argparse.ArgumentParser(description="kdbench against the usual way and the best plain loop")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BARS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help="of an epoch against the plain loop, instead of 1280")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true", help="write them to results/bench/ratios/")
    asked = parser.parse_args(words)
    cases = {case.name: case for case in ALL_CASES if (case in GPU_CASES) == (asked.device == "cuda")}
    if unknown := sorted(set(asked.names) - set(cases)):
        parser.error(f"unknown: {', '.join(unknown)}; on {asked.device} there are {', '.join(cases)}")
    if asked.rounds < 1:
        parser.error("--rounds: at least 1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wanted = [case for name, case in cases.items() if not asked.names or name in asked.names]
    ratios = []
    for against in dict.fromkeys(case.against for case in wanted):
        with both(asked.device, against) as (other, ours):
            for case in wanted:
                if case.against != against:
                    continue
                sized = case._replace(images=asked.images or case.images) if against == "plain" else case
                ratios.append(compare(sized, asked.rounds, other, ours))
                print(table(ratios[-1:]).splitlines()[-1], file=sys.stderr)  # noqa: T201 - a script
    if asked.keep:
        keep(ratios, ROOT / "results" / "bench" / "ratios", device_at_hand(machine_with(asked.device)))
    shown: Any = json.dumps(msgspec.to_builtins(ratios), indent=1) if asked.json else table(ratios)
    print(shown)  # noqa: T201
    return int(any(each.ratio < BARS[each.name] for each in ratios))


if __name__ == "__main__":
    sys.exit(main())
