"""benchmark.toml: this machine. Nothing in it can change a number."""

import os
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field

from kdbench.errors import UserError
from kdbench.quantities import Parallel, Rate, Weight
from kdbench.toml import Place, parse, sections_at

FILE = "benchmark.toml"
RENAMED_KEYS = {"slots": "workers"}
"""Keys of older files, of `slurm/` too, and what they are called today."""


class Local(Struct, frozen=True, kw_only=True):
    """`[local]`: how this machine trains."""

    workers: Parallel | None = None
    """Processes at a time, each with a cohort (absent: one per core on a CPU, `runs_per_gpu` per GPU)."""
    threads: Parallel = 1
    """CPU threads of one process."""
    processes: Parallel = 1
    """Ranks that train each run together, by its `ghost_batches`; each on a GPU where there are enough."""
    runs_per_gpu: Parallel = 1
    """Processes that share a GPU."""
    memory_gib: Rate | None = None
    """That all runs together may fill; on GPUs, of each one (absent: 80 % of what there is)."""
    checkpoint_seconds: Weight = 10.0
    """Of its own training, after which a run keeps a checkpoint, at the end of an epoch (0: after each)."""
    logits_gib: Weight = 8.0
    """Teachers' logits are kept in scratch up to so much, for runs to come (0: they are not)."""
    deterministic: bool = False
    """Deterministic algorithms on GPUs too, where they are slower; a result records which were used."""
    cuda_graphs: bool = False
    """On a GPU, launch a step's kernels as CUDA graphs; a result records it."""
    device: Annotated[str, Meta(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto`: the first GPU where there is one."""


class Data(Struct, frozen=True, kw_only=True):
    """`[data]`: where data sets lie and come from."""

    folder: str = ""
    """Absent: `KDBENCH_DATA`, else the platform's cache directory."""
    mirrors: tuple[str, ...] = ()
    """Addresses tried before a data set's own."""
    offline: bool = False
    workers: Parallel | None = None
    """Threads that crop and resize the images of one run (absent: its share of the cores)."""


class Folders(Struct, frozen=True, kw_only=True):
    """`[folders]`: where results, and what can be made again, are written."""

    results: Annotated[str, Meta(min_length=1)] = "results"
    scratch: Annotated[str, Meta(min_length=1)] = ".kdbench"
    """Weights and checkpoints. Losing it loses no result."""


class Slurm(Struct, frozen=True, kw_only=True):
    """`[slurm]`: the cluster that `--on slurm` means."""

    profile: str = ""
    """The stem of a file of slurm/."""


class Machine(Struct, frozen=True, kw_only=True):
    """All that kdbench knows of the machine it runs on."""

    local: Local = field(default_factory=Local)
    data: Data = field(default_factory=Data)
    folders: Folders = field(default_factory=Folders)
    slurm: Slurm = field(default_factory=Slurm)
    root: str = "."
    """The folder that relative paths start from: that of benchmark.toml, else the current one."""

    @property
    def results(self) -> Path:
        """One JSON per run, in git, and logs, which are not."""
        return _path(self.root, self.folders.results)

    @property
    def scratch(self) -> Path:
        """Weights and checkpoints."""
        return _path(self.root, self.folders.scratch)

    @property
    def data_folder(self) -> Path | None:
        """Where benchmark.toml says that the data lie, if it does."""
        return _path(self.root, self.data.folder) if self.data.folder else None


def _path(root: str, written: str) -> Path:
    """A path as benchmark.toml has it, with `~` and variables; what is relative starts at root."""
    return Path(root, os.path.expanduser(os.path.expandvars(written)))  # noqa: PTH111 - Path's raises


def load_machine(path: Path | None = None) -> Machine:
    """Read benchmark.toml, given or found in this folder or the nearest one above; defaults without one.

    Raises:
        UserError: the file is wrong; one sentence for each mistake.
    """
    file = path or nearest(Path.cwd())
    machine = Machine() if file is None else _read(file)
    folders = (machine.results, machine.scratch, machine.data_folder)
    problems = [problem for each in folders if each is not None and (problem := link_to_nowhere(each))]
    if problems:
        raise UserError(*problems)
    return machine


def _read(file: Path) -> Machine:
    """A benchmark.toml, every mistake of its sections at once."""
    place = Place(str(file))
    sections = sections_at(_SECTIONS, parse(file), place, renamed=RENAMED_KEYS)
    if place.problems:
        raise UserError(*place.problems)
    return Machine(root=str(file.parent), **sections)


def link_to_nowhere(folder: Path) -> str:
    """The sentence on a folder or file that is a link to what is not there; "" of any other."""
    if not folder.is_symlink() or folder.exists():
        return ""
    return f"{folder} is a link to {folder.readlink()}, which is not there; is it not mounted?"


def nearest(folder: Path) -> Path | None:
    """The benchmark.toml of a folder, or of the nearest one above it.

    Raises:
        UserError: it is a link to what is not there.
    """
    for parent in (folder, *folder.parents):
        if problem := link_to_nowhere(parent / FILE):
            raise UserError(problem)
        if (parent / FILE).exists():
            return parent / FILE
    return None


_SECTIONS: dict[str, type[Struct]] = {"local": Local, "data": Data, "folders": Folders, "slurm": Slurm}
