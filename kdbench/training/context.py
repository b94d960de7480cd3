"""What training needs of the machine: a device, the data, the teachers' weights. Nothing here is drawn."""

import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from kdbench import catalog
from kdbench.data.generated import generated, is_generated
from kdbench.data.neighbours import neighbours
from kdbench.data.packed import Dataset, open_dataset
from kdbench.data.place import fetcher_of
from kdbench.data.random import torch_seed
from kdbench.data.views import Store
from kdbench.device import cpu_name
from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.models.build import build_network
from kdbench.plan.expand import with_plugins
from kdbench.plugins import Plugin
from kdbench.spec.results import Environment
from kdbench.spec.runs import Precision, Run, Teacher
from kdbench.store.imported import find_imported
from kdbench.store.lease import Lease, Watch, take
from kdbench.store.mounts import MountGuard, retry_until_mounted
from kdbench.store.records import index, load_result
from kdbench.store.weights import remove_damaged, weights_file
from kdbench.training.checkpoint import Writer, load_weights
from kdbench.training.group import Group, join
from kdbench.training.memory import Need
from kdbench.training.precision import check_precision
from kdbench.version import __version__
from kdbench.workers.launch import launched

if TYPE_CHECKING:
    from kdbench.models.output import Network


T = TypeVar("T")
TESTED = 2
"""Sets of images that stay on a GPU for the next evaluation: test images, and held-out ones."""
GENERATED = 4
"""Generated data sets that stay open: a run's, its teacher's, and those of the runs before."""


@dataclass
class TrainingContext:
    """One process's hold on its machine; data sets stay open from run to run."""

    machine: Machine
    device: torch.device
    datasets: dict[str, Dataset] = field(default_factory=dict)
    """Those that lie on the disk, by name."""
    generated: dict[tuple[str, int], Dataset] = field(default_factory=dict)
    """Those that are functions of a seed, by name and seed."""
    watch: Watch = field(default_factory=Watch)
    """What was seen of the holds of other processes."""
    leases: dict[str, Lease] = field(default_factory=dict)
    """By run: what this process trains now."""
    folders: list[MountGuard] = field(default_factory=list)
    """Results and scratch, as they were found before the first run."""
    needs: dict[tuple[str, str, int, int], Need] = field(default_factory=dict)
    """What networks were found to need of the memory, by student, data set and classes."""
    needed: list[tuple[object, ...]] = field(default_factory=list)
    """What the memory of the last cohort depended on, run by run."""
    group: Group = field(default_factory=Group)
    """The ranks that train each run together."""
    writer: Writer = field(default_factory=Writer)
    """Of checkpoints, beside the training."""
    stores: dict[tuple[object, ...], Store] = field(default_factory=dict)
    """The padded images of the last run, by data, choice and padding: the next run often has the same."""
    tested: dict[tuple[object, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)
    """On a GPU: images of the last evaluations and their classes, by data and choice."""

    def dataset(self, name: str) -> Dataset:
        """A data set, fetched and packed if it must be and may be."""
        if name not in self.datasets:
            self.datasets[name] = open_dataset(name, fetcher_of(self.machine))
        return self.datasets[name]

    def data_of(self, run: Run) -> Dataset:
        """The data set of a run: one that is generated, for its seed.

        Raises:
            UserError: it cannot be had.
        """
        if not is_generated(run.dataset):
            return self.dataset(run.dataset)
        key = run.dataset, run.seed
        if key not in self.generated:
            make_room(self.generated, GENERATED)  # a cohort of 100 seeds has 100, and their teachers' too
            self.generated[key] = generated(run.dataset, run.seed)
        return self.generated[key]

    def store(self, key: tuple[object, ...], make: Callable[[], Store]) -> Store:
        """Padded images by what they depend on: those of the run before, or made anew in their place."""
        if key not in self.stores:
            self.stores.clear()  # first, since there may be room for one only
            self.stores[key] = make()
        return self.stores[key]

    def on_device(self, key: tuple[object, ...], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images of an evaluation and their classes where networks are: moved there once, not batch by batch.

        Args:
            key: what they are, for the next evaluation.
            images: on the CPU, (N, C, H, W).
            labels: (N,).
        """
        if self.device.type == "cpu":
            return images, labels
        if key not in self.tested:
            make_room(self.tested, TESTED)
            self.tested[key] = images.to(self.device), labels.to(self.device)
        return self.tested[key]

    def take(self, run: Run) -> Lease | None:
        """This process's hold on a run, while the context that it is lasts; None where another has it.

        Raises:
            UserError: results or scratch cannot be written.
        """
        if not self.folders:
            self.folders = [MountGuard(self.machine.results), MountGuard(self.machine.scratch)]
        lease = take(self.machine.scratch / "locks" / run.id, self.watch)
        if lease is not None:
            self.leases[run.id] = lease
        return lease

    def write(self, run: Run, write: Callable[[], T]) -> T:
        """Let a run write something, once its folders are there and unless it was taken over.

        Raises:
            LostError: another process trains it now.
            UserError: it cannot be written.
        """

        def checked() -> T:
            if run.id in self.leases:
                self.leases[run.id].check()
            return write()

        return retry_until_mounted(checked, self.folders)

    def teacher(self, run: Run) -> nn.Module | None:
        """The network that teaches a run, for evaluation only: a checkpoint of another run, or imported.

        Raises:
            UserError: its weights are not on this machine, damaged, or do not fit the run.
        """
        if (found := find_imported(run, self.machine.scratch)) is not None:
            path, provenance = found
            network = self._built(provenance.model, provenance.classes, run.dataset)
        elif run.teacher is not None and not run.teacher.trained:
            return self.network(run.teacher.run).eval().requires_grad_(requires_grad=False)
        elif run.teacher is not None:
            path, taught = self._checkpoint(run.teacher), run.teacher.run
            network = self._built(taught.student, taught.recipe.classes, taught.dataset)
        else:
            return None
        load_weights(path, network)
        return network.eval().requires_grad_(requires_grad=False)

    def _checkpoint(self, teacher: Teacher) -> Path:
        path = weights_file(self.machine.scratch, teacher.run.id, teacher.epoch)
        if path is None:
            remove_damaged(self.machine.scratch, teacher.run.id, teacher.epoch)
            raise UserError(
                f"the weights of {teacher.run.slug} (run {teacher.run.id}, epoch {teacher.epoch}) are not in "
                f"{self.machine.scratch / 'weights'}, or were damaged; `kdbench run` trains the teacher first"
            )
        _check_recorded(self.machine.results, teacher, path)
        return path

    def neighbours(self, run: Run) -> torch.Tensor | None:
        """A(x) of the run's data set, uint8 (K, K), if its loss needs it.

        Raises:
            UserError: the data set has none.
        """
        if not catalog.find("losses", run.loss.name).neighbours:
            return None
        return neighbours(run.dataset).to(self.device)

    def network(self, run: Run) -> nn.Module:
        """The run's network as it starts: its weights depend on the seed and the model alone.

        Raises:
            UserError: the published weights that it starts from cannot be had, or are others.
        """
        # the stream's name has neither loss nor recipe: rows of one seed start from the same weights, so that
        # their differences are paired; `draw` is another start of the same seed
        draw = f" {run.recipe.draw}" if run.recipe.draw else ""
        seed_torch(torch_seed(run.seed, f"init {run.student}{draw}"))
        network = self._built(run.student, run.recipe.classes, run.dataset)
        if run.weights is not None:
            from kdbench.models.pretrained import start_from

            start_from(cast("Network", network), run.weights, fetcher_of(self.machine))
        return network

    def _built(self, model: str, classes: int, dataset: str) -> nn.Module:
        """A network on the device, for the images of a data set; 0 classes: as many as that has."""
        entry = catalog.find("datasets", dataset)
        network = build_network(model, classes or entry.classes, entry.channels)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def make_room(kept: dict[Any, Any], most: int) -> None:
    """Let go of the oldest of what is kept, so that with one more there are not more than `most`.

    A dict is in the order in which it was filled.
    """
    while len(kept) >= most:
        del kept[next(iter(kept))]


def _check_recorded(results: Path, teacher: Teacher, path: Path) -> None:
    """Weights may be whole and still not what was trained."""
    there = index(results)
    records = [there.results.get(teacher.run.id), *there.repeats.get(teacher.run.id, ())]
    known = [load_result(record).weights.get(str(teacher.epoch)) for record in records if record]
    found = path.name.split(".")[1]
    if any(known) and found not in known:
        known_text = ", ".join(sha[:12] for sha in known if sha)
        raise UserError(
            f"{path}: refused, the result of {teacher.run.slug} (run {teacher.run.id}) records other weights "
            f"of epoch {teacher.epoch}: {known_text}; "
            f"remove the file, and `kdbench run` trains the teacher again"
        )


def chosen_device(machine: Machine) -> torch.device:
    """The device that benchmark.toml chooses; on `cuda` one of them, by its number.

    Raises:
        UserError: it is not there.
    """
    wanted = machine.local.device
    name = wanted
    if wanted == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"benchmark.toml, [local], device = {wanted!r}: {reason}; valid: auto, cpu, cuda"
        ) from error


def check_device(machine: Machine, precisions: Iterable[Precision]) -> Iterator[Precision]:
    """The precisions at which the device that benchmark.toml chooses can train: all of these.

    Raises:
        UserError: it is not there, or has no such arithmetic.
    """
    device = chosen_device(machine)
    for precision in precisions:
        check_precision(precision, device)
        yield precision


def open_context(machine: Machine, *, as_rank: bool = False) -> TrainingContext:
    """Set up this process for training: threads, device, deterministic algorithms.

    They are always used on the CPU, and on a GPU if benchmark.toml or `--deterministic` asks for them.

    Args:
        machine: this one.
        as_rank: join the others, where this process is one of several ranks, on a GPU of its own if possible.

    Raises:
        UserError: the device of benchmark.toml is not there, or the other ranks are not found.
    """
    device = chosen_device(machine)
    rank = launched() if as_rank else None
    if rank is not None and device.type == "cuda":  # fewer GPUs than ranks: they take them in turn
        device = torch.device("cuda", ((device.index or 0) + rank.local_rank) % torch.cuda.device_count())
    torch.set_num_threads(machine.local.threads)
    if device.type == "cpu" or machine.local.deterministic:
        torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms imports the compiler: 5 s
    fill_new_memory(of=())
    return TrainingContext(machine, device, group=join(rank, device))


def fill_new_memory(*, of: Iterable[Run]) -> None:
    """Whether torch writes NaN into memory that it has just taken, as its deterministic algorithms do.

    Every output of every layer is written twice then, which is 4 to 9 % of a step. No code of kdbench's or
    torch's that a run uses reads memory before it is written, and a test holds that: it is for runs with
    other packages' code, so that a mistake there gives NaN each time instead of what happened to lie there.
    """
    deterministic: Any = torch.utils.deterministic  # its types do not know the name
    deterministic.fill_uninitialized_memory = any(_plugins(run) for run in of)


def seed_torch(seed: int) -> None:
    """torch.manual_seed, of the generators that are in use.

    Where no GPU has been started, torch's own keeps a traceback of every call for the case that one is:
    4 ms and some memory each time. A context of a GPU has started it.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def statistics(run: Run) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std that normalise the run's images, per channel, of values from 0 to 1."""
    return catalog.statistics(run.dataset, run.recipe.normalize, run.recipe.normalize_std)


def input_digests(run: Run, context: TrainingContext) -> dict[str, str | None]:
    """What all epochs of a run must have in common, whenever they are trained."""
    return {
        "data": context.data_of(run).content,
        "teacher": _teacher_digest(run, context.machine.scratch),
    }


def environment(context: TrainingContext) -> Environment:
    """What a number may depend on beside the run and its basis: versions and the machine."""
    cuda = context.device.type == "cuda"
    return {
        "kdbench": __version__,
        **_commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "system": platform.platform(terse=True),
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(context.device) if cuda else None,
        "device": context.device.type,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "started": now(),
    }


def now() -> str:
    """The time of day as results have it, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def plugin_facts(run: Run) -> dict[str, str]:
    """`{"plugins": "wkd 0.1.0 (source 3f2a81c0)"}`: the packages behind a run and its teachers, if any."""
    text = _packages(sorted(_plugins(run)))
    return {"plugins": text} if text else {}


def _plugins(run: Run) -> set[Plugin]:
    """The packages behind a run and its teachers."""
    found, of = set(run.plugins), run.teacher
    while of is not None:
        found.update(of.run.plugins)
        of = of.run.teacher
    return found


def _packages(plugins: Iterable[Plugin]) -> str:
    return ", ".join(f"{each} (source {each.source[:8]})" for each in plugins)


def check_plugins(run: Run) -> None:
    """Refuse to train a run with other code than it is of, as a queued job might after an update.

    Raises:
        UserError: a package was changed, or is not here.
    """
    here = with_plugins(run).plugins
    if here == run.plugins:
        return
    raise UserError(
        f"{run.slug} seed {run.seed} (run {run.id}) is of {_packages(run.plugins) or 'nothing'}; installed "
        f"here is {_packages(here) or 'nothing'}: install that "
        f"one, or plan again with this one, which is another run"
    )


def _teacher_digest(run: Run, scratch: Path) -> str | None:
    """The sha256 of the weights that taught; of those before training, which their run is."""
    if run.teacher is not None and not run.teacher.trained:
        return f"{run.teacher.run.id}, untrained"
    if run.teacher is not None:
        file = weights_file(scratch, run.teacher.run.id, run.teacher.epoch)
        return file.name.split(".")[1] if file else None
    imported = find_imported(run, scratch)
    return imported[1].sha256 if imported else None


@cache
def _commit() -> dict[str, str | bool | None]:
    """Which commit of kdbench's own source this is, and whether it was changed since."""
    here = Path(__file__).parent
    asked = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--", ".", "../../suites"]]
    try:
        commit, changes = (
            subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603
            for command in asked
        )
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}
