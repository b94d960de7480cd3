"""How fast a device trains, as measured: results/bench/DEVICE.json, kept by `kdbench bench`, and results.

    { "device": {"name": ..., "threads": 1}, "torch": "2.15.0",
      "attainable": {"float32": {"flops": 1.1e11, "bytes": 1.4e10}},
      "kinds": { "shufflenetv2<resnet18 cifar100 b64 float32": {
          "data": {"rate": 60000.0, "share": 0.05}, "step": ..., "teacher": ..., "evaluation": ... } } }

`rate` is in images per second; `share` is the share of the fastest that the arithmetic or the traffic
allows, at what the device attains in a product of large matrices or a convolution, and in a copy.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from kdbench.cost.counts import Work, images
from kdbench.device import Device, device_of
from kdbench.errors import UserError
from kdbench.spec.results import Result
from kdbench.spec.runs import Run
from kdbench.store.compact import folder_of
from kdbench.store.json_files import load_json, save_json
from kdbench.store.records import Index, load_result

RECORDS = 8
"""Stored results of a run's like that are read at most."""


class Attainable(Struct, frozen=True):
    """The most that was measured of a device at a precision."""

    flops: float
    """A second, in a product of large matrices or a convolution."""
    bytes: float
    """A second, read and written, in a copy."""

    def seconds(self, work: Work) -> float:
        """The least that work takes: its arithmetic or its traffic, whichever takes longer."""
        return max(work.flops / self.flops, work.bytes / self.bytes)


class Measured(Struct, frozen=True):
    """One part of training."""

    rate: float
    """Images a second."""
    share: float | None
    """Of the fastest possible; None: the network was not counted."""


class Speed(Struct, frozen=True):
    """What a kind of run attains."""

    data: Measured
    """The views alone."""
    step: Measured
    """Teacher, student, loss, gradients, optimizer: without the views."""
    evaluation: Measured
    teacher: Measured | None = None
    """Its part of the step; None without one."""
    operators: int | None = None
    """Of a step, its teacher's among them: kernel launches on a GPU. None: of an older record."""
    synchronisations: int | None = None
    """Of a step: how often the host would wait for a GPU."""


class Seconds(Struct, frozen=True):
    """How long a run takes alone."""

    whole: float
    teaching: float | None
    """The teacher's part; None: not known."""


class Record(Struct, frozen=True):
    """What was measured of one device."""

    device: Device
    torch: str
    attainable: dict[str, Attainable]
    """By precision."""
    kinds: dict[str, Speed] = field(default_factory=dict)


COSTLY = ("randaugment", "random_erasing", "mixup", "cutmix", "clip_norm", "ema")
"""Fields of a recipe, off in most, that take a part of a step's time."""


def kind(run: Run) -> str:
    """What a speed depends on: the networks, the images and what is done to them, the batch, the precision.

    Not the seed, nor the loss.
    """
    taught = f"<{run.teacher_model}" if run.taught else ""
    size = f" {run.recipe.size}px" if run.recipe.size else ""
    more = "".join(f" {name}" for name in COSTLY if getattr(run.recipe, name))
    return f"{run.student}{taught} {run.dataset}{size} b{run.recipe.batch_size} {run.precision}{more}"


def file_of(results: Path, device: Device) -> Path:
    """Where a device's speeds are kept."""
    return results / "bench" / f"{device.stem}.json"


def load_record(results: Path, device: Device) -> Record | None:
    """What was measured of a device; None: nothing yet.

    Raises:
        UserError: its file is broken.
    """
    path = file_of(results, device)
    try:
        return load_json(path, Record, what="measurement", hint="remove it and measure again")
    except FileNotFoundError:
        return None


def save_record(results: Path, record: Record) -> Path:
    """Keep what was measured, beside what was measured before of other kinds of runs.

    Raises:
        UserError: the folder cannot be written, or what is there is broken.
    """
    before = load_record(results, record.device)
    kinds, attainable = record.kinds, record.attainable
    if before is not None:
        kinds = {**before.kinds, **kinds}
        attainable = {**before.attainable, **attainable}
    whole = replace(record, kinds=dict(sorted(kinds.items())), attainable=attainable)
    path = file_of(results, record.device)
    save_json(path, whole)
    return path


class StoredResults:
    """Finished runs as measurements of runs like them: same data set, student, loss and teacher, any seed.

    Args:
        there: the index of the results; nothing is read before it is needed, and no file twice.
    """

    def __init__(self, there: Index) -> None:
        self.paths: dict[tuple[str, str], list[Path]] = {}
        self.results: dict[tuple[str, str], list[Result]] = {}
        for path in there.results.values():
            slug = path.name.rpartition(".s")[0]
            self.paths.setdefault((folder_of(path).name, slug), []).append(path)

    def like(self, run: Run) -> list[Result]:
        """The last few results of a run's like; a broken one measures nothing, `check` reports it."""
        key = (run.dataset, run.slug)
        if key not in self.results:
            self.results[key] = []
            for path in self.paths.get(key, [])[-RECORDS:]:
                with suppress(UserError):
                    self.results[key].append(load_result(path))
        return self.results[key]


def measured_seconds(results: Path, there: Index, device: Device) -> Callable[[Run], Seconds | None]:
    """A function of a run: how long it takes alone on a device, as measured there; None: not measured.

    Args:
        results: the folder of results, in which `kdbench bench` keeps what it measures.
        there: its index: finished runs are measurements too.
        device: where the run would be trained.

    Raises:
        UserError: the record is broken.
    """
    record = load_record(results, device)
    stored = StoredResults(there)
    known: dict[str, Callable[[Run], Seconds] | None] = {}

    def seconds(run: Run) -> Seconds | None:
        name = kind(run)
        if name not in known:
            known[name] = _by_bench(record, name) or _by_results(stored, run, device)
        found = known[name]
        return found and found(run)

    return seconds


def _by_bench(record: Record | None, name: str) -> Callable[[Run], Seconds] | None:
    """Seconds of a run from `kdbench bench` of its kind: an image costs its views, then its step."""
    speed = record.kinds.get(name) if record else None
    if speed is None:
        return None
    training = 1 / speed.data.rate + 1 / speed.step.rate
    teaching = 1 / speed.teacher.rate if speed.teacher else 0.0

    def seconds(run: Run) -> Seconds:
        trained, tested = images(run)
        return Seconds(trained * training + tested / speed.evaluation.rate, trained * teaching)

    return seconds


def _by_results(stored: StoredResults, run: Run, device: Device) -> Callable[[Run], Seconds] | None:
    """Seconds per training image, evaluation included, of a stored run of the same kind and device."""
    for result in stored.like(run):
        if kind(result.run) == kind(run) and device_of(result.environment) == device and _alone(result):
            # evaluations are in these seconds; the number of test images hardly differs between runs of a
            # kind. How much of them the teacher took is not recorded.
            each = result.seconds / images(result.run)[0]
            return lambda of: Seconds(each * images(of)[0], None if of.taught else 0.0)
    return None


def _alone(result: Result) -> bool:
    """Whether one process at a time, on one device, trained it and nothing else.

    A cohort's seconds are shared by its runs.
    """
    parts = [result.environment, *(each.environment for each in result.segments)]
    shared = any(part.get(name, 1) != 1 for part in parts for name in ("cohort", "processes"))
    return not shared and len(set(map(device_of, parts))) == 1


class Need(Struct, frozen=True):
    """What a run will need on a node of a cluster."""

    seconds: float
    memory: float | None = None
    """GiB of the node at the peak of each of its processes; None: nobody has measured it."""


Estimate = Callable[[Run], Need]


def expected_need(there: Index, images_per_second: float) -> Estimate:
    """A function of a run: what it will need, on whichever device it is trained.

    Args:
        there: the results that may have its like. The longest of them gives the speed; the largest of
            those that were trained on a CPU with the same batch size gives the memory. (A result from a
            GPU has measured the GPU's memory, not the node's.)
        images_per_second: what is assumed where there is none.
    """
    stored = StoredResults(there)

    def need(run: Run) -> Need:
        results = stored.like(run)
        speed = _speed(results) or images_per_second
        return Need(images(run)[0] / speed, _memory(results, run.recipe.batch_size))

    return need


def _speed(results: list[Result]) -> float | None:
    """Images per second, evaluation and all, of the longest."""
    longest = max(results, key=lambda result: images(result.run)[0], default=None)
    return images(longest.run)[0] / max(longest.seconds, 1e-3) if longest else None


def _memory(results: list[Result], batch_size: int) -> float | None:
    peaks = [
        result.peak_memory / int(result.environment.get("processes") or 1)
        for result in results
        if result.run.recipe.batch_size == batch_size and result.environment.get("device") == "cpu"
    ]
    return max(peaks) / 2**30 if any(peaks) else None
