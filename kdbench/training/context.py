"""What training needs of the machine: a device, the data, the teachers' weights. Nothing here is drawn."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from kdbench import catalog
from kdbench.data.opened import OpenDatasets
from kdbench.data.place import fetcher_of
from kdbench.data.random import torch_seed
from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.models.build import build_network
from kdbench.plan.plugin_runs import packages
from kdbench.spec.runs import Run, Teacher
from kdbench.store.imported import find_imported
from kdbench.store.records import index, load_result
from kdbench.store.run_leases import RunLeases
from kdbench.store.weights import remove_damaged, weights_file
from kdbench.training.checkpoint import Writer, load_weights
from kdbench.training.device import chosen_device
from kdbench.training.generator import seed_torch
from kdbench.training.group import Group, join
from kdbench.training.kept import Kept
from kdbench.workers.launch import launched

if TYPE_CHECKING:
    from kdbench.models.output import Network


@dataclass
class TrainingContext:
    """One process's hold on its machine."""

    machine: Machine
    device: torch.device
    group: Group = field(default_factory=Group)
    """The ranks that train each run together."""
    writer: Writer = field(default_factory=Writer)
    """Of checkpoints, beside the training."""
    data: OpenDatasets = field(init=False)
    leases: RunLeases = field(init=False)
    """Of the runs that are trained now."""
    kept: Kept = field(default_factory=Kept)
    """Of the runs before."""

    def __post_init__(self) -> None:
        self.data = OpenDatasets(self.machine)
        self.leases = RunLeases(self.machine.results, self.machine.scratch)

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
            path, taught = _checkpoint(run.teacher, self.machine), run.teacher.run
            network = self._built(taught.student, taught.recipe.classes, taught.dataset)
        else:
            return None
        load_weights(path, network)
        return network.eval().requires_grad_(requires_grad=False)

    def _built(self, model: str, classes: int, dataset: str) -> nn.Module:
        """A network on the device, for the images of a data set; 0 classes: as many as that has."""
        entry = catalog.find("datasets", dataset)
        network = build_network(model, classes or entry.classes, entry.channels)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _checkpoint(teacher: Teacher, machine: Machine) -> Path:
    """The file of a teacher's weights."""
    path = weights_file(machine.scratch, teacher.run.id, teacher.epoch)
    if path is None:
        remove_damaged(machine.scratch, teacher.run.id, teacher.epoch)
        raise UserError(
            f"the weights of {teacher.run.slug} (run {teacher.run.id}, epoch {teacher.epoch}) are not in "
            f"{machine.scratch / 'weights'}, or were damaged; `kdbench run` trains the teacher first"
        )
    _check_recorded(machine.results, teacher, path)
    return path


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
    deterministic.fill_uninitialized_memory = any(packages(run) for run in of)
