"""slurm/NAME.toml: how jobs are asked for on one cluster. Nothing in it can change a number."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import asdict, replace

from kdbench.catalog import unknown
from kdbench.errors import UserError
from kdbench.machine import RENAMED_KEYS as RENAMED_LOCALLY
from kdbench.machine import Machine
from kdbench.quantities import Count, Parallel, Positive, Rate
from kdbench.toml import Place, parse, sections_at, struct_at

FOLDER = "slurm"
RENAMED_KEYS = {**RENAMED_LOCALLY, "processes": "tasks_per_node"}
"""Keys of older profiles, and what they are called today."""
Line = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class JobRequest(Struct, frozen=True, kw_only=True):
    """`[slurm]`: what every job asks for. Left out: the cluster's own default."""

    partition: Line = ""
    account: Line = ""
    qos: Line = ""
    constraint: Line = ""
    gpus_per_node: Count = 0
    gres: Line = ""
    cpus: Positive | None = None
    """Of a job (absent: as many as its runs have threads)."""
    memory: Rate | None = None
    """GiB of a job."""
    time: Positive = 1440
    """Minutes that a job may have at most; longer runs go on in a requeued job."""
    signal: Positive = 120
    """Seconds before its time is up that a job is signalled; in short jobs less."""


class Work(Struct, frozen=True, kw_only=True):
    """`[work]`: how runs are spread over jobs."""

    workers: Parallel | None = None
    """Runs side by side in a job (absent: one for each `tasks_per_node` of its GPUs; one without GPUs)."""
    tasks_per_node: Parallel = 1
    """Ranks of each run on each of its nodes; each has a GPU where there are enough. They are Slurm's tasks
    where a job trains one run at a time; workers beside each other start theirs themselves."""
    nodes: Positive = 1
    """Of a job: all of them train each of its runs together, one after the other."""
    parallel: Positive = 256
    """Jobs of an array that may run at the same time."""
    minutes: Positive = 60
    """Short runs share a job up to so much estimated work in each worker."""
    images_per_second: Rate = 500
    """Assumed of runs whose like has no result yet."""
    runs_per_job: Positive | None = None
    """At most so many runs in a job."""
    max_array: Positive = 1000
    """The cluster's MaxArraySize, less one."""


class Node(Struct, frozen=True, kw_only=True):
    """`[node]`: what a job finds and does on its node before it trains."""

    python: Line = ""
    """The command that starts Python, for example in a container (absent: this very Python)."""
    setup: tuple[Line, ...] = ()
    """Shell lines before it: `module load cuda`."""
    shared: tuple[Line, ...] = ()
    """The folders that nodes see; results, scratch and data must lie in one of them (absent: unchecked)."""


class Mappings(Struct, frozen=True, kw_only=True):
    """The tables of a profile whose keys are the user's own."""

    environment: dict[Variable, Line] = field(default_factory=dict)
    sbatch: dict[str, str | int | bool] = field(default_factory=dict)
    """Further options of sbatch by their own names, as far as submitit knows them."""
    extra: dict[str, str | int | bool] = field(default_factory=dict)
    """Those that submitit does not know: only sbatch itself checks them."""


class Profile(Mappings, frozen=True, kw_only=True):
    """A whole file of `slurm/`."""

    name: str
    slurm: JobRequest = field(default_factory=JobRequest)
    work: Work = field(default_factory=Work)
    node: Node = field(default_factory=Node)

    @property
    def workers(self) -> int:
        """Runs side by side in a job."""
        if self.work.nodes > 1:
            return 1
        return self.work.workers or max(1, self.slurm.gpus_per_node // self.work.tasks_per_node)

    @property
    def processes(self) -> int:
        """That train on a node of a job."""
        return self.workers * self.work.tasks_per_node

    @property
    def slurm_tasks(self) -> int:
        """Of a job on each node: one for each rank of its run; one where there are several workers."""
        return self.work.tasks_per_node if self.workers == 1 else 1

    @property
    def several_tasks(self) -> bool:
        """Whether a job has several, on one node or more."""
        return self.slurm_tasks * self.work.nodes > 1


OWN = {
    "additional_parameters": "[extra]",
    "array_parallelism": "[work] parallel",
    "comment": "nothing: kdbench finds its jobs by it",
    "constraint": "[slurm] constraint",
    "cpus_per_task": "[slurm] cpus",
    "dependency": "nothing: students wait for their teachers",
    "account": "[slurm] account",
    "gpus_per_node": "[slurm] gpus_per_node",
    "gres": "[slurm] gres",
    "job_name": "nothing: kdbench finds its jobs by it",
    "mem": "[slurm] memory",
    "nodes": "[work] nodes",
    "ntasks_per_node": "[work] tasks_per_node",
    "num_gpus": "[slurm] gpus_per_node",
    "partition": "[slurm] partition",
    "qos": "[slurm] qos",
    "setup": "[node] setup",
    "signal_delay_s": "[slurm] signal",
    "time": "[slurm] time",
}
"""Options that kdbench sets, and where a profile says them instead."""


def load_profile(name: str, machine: Machine, options: Collection[str]) -> Profile:
    """Read slurm/NAME.toml beside benchmark.toml.

    Args:
        name: of the profile; "": the one that benchmark.toml names.
        machine: this one.
        options: what `[sbatch]` may hold (`cluster.sbatch.sbatch_options`).

    Raises:
        UserError: there is none, or it is wrong; one sentence for each mistake.
    """
    folder = Path(machine.root, FOLDER)
    there = sorted(path.stem for path in folder.glob("*.toml"))
    name = name or machine.slurm.profile
    if not there:
        raise UserError(
            f"{folder} has no profile: write one, NAME.toml, with [slurm] and, for example, partition ="
            f' "gpu", gpus_per_node = 1 and time = 600 (minutes); docs/cluster.md has all keys'
        )
    if not name:
        raise UserError(
            f"which cluster? {folder} has {', '.join(there)}: write --on slurm:NAME, "
            f"or [slurm] profile = ... in benchmark.toml"
        )
    if name not in there:
        raise UserError(f"{folder}: {unknown('profile', name, there)}")
    return read_profile(folder / f"{name}.toml", options)


def read_profile(file: Path, options: Collection[str]) -> Profile:
    """Make a Profile of a file.

    Raises:
        UserError: one sentence for each mistake.
    """
    content = parse(file)
    place = Place(str(file))
    own_keys = Mappings.__struct_fields__
    sections = sections_at(_SECTIONS, content, place, renamed=RENAMED_KEYS, others=own_keys)
    rest = struct_at(Mappings, {key: content[key] for key in own_keys if key in content}, place)
    work = sections["work"]
    if work is not None and work.nodes > 1 and (work.workers or 1) > 1:
        place.at("[work]").report(
            f"workers = {work.workers}; the {work.nodes} nodes of a job train one run at a time: leave "
            f"workers out"
        )
    if rest is not None:
        _check_options(rest.sbatch, options, place.at("[sbatch]"))
    if place.problems or rest is None:
        raise UserError(*place.problems)
    sbatch = {key.replace("-", "_"): value for key, value in rest.sbatch.items()}
    return Profile(name=file.stem, **sections, **asdict(replace(rest, sbatch=sbatch)))


def _check_options(written: Mapping[str, object], known: Collection[str], place: Place) -> None:
    """Say which sbatch options of a profile are kdbench's own to set, or unknown to submitit."""
    valid = [name for name in known if name not in OWN]
    for option in written:
        name = option.replace("-", "_")
        if name in OWN:
            place.report(f"{option} is set by kdbench; instead: {OWN[name]}")
        elif name not in valid:
            place.report(
                f"{unknown('option', option, valid)}. One that submitit does not know goes into [extra]"
            )


def check_shared(profile: Profile, folders: Mapping[str, Path]) -> None:
    """Refuse folders that nodes would not see.

    Raises:
        UserError: one sentence for each.
    """
    shared = [Path(os.path.expandvars(written)).expanduser().resolve() for written in profile.node.shared]
    problems = [
        f"profile {profile.name}: [node] shared names {folder}, which is not there"
        for folder in shared
        if not folder.is_dir()
    ]
    for what, folder in folders.items():
        seen = any(folder.resolve().is_relative_to(place) for place in shared)
        if shared and not seen:
            problems.append(
                f"{what} is {folder}, which nodes do not see: profile {profile.name} says that they share "
                f"{', '.join(map(str, shared))}; move it there in benchmark.toml"
            )
    if problems:
        raise UserError(*problems)


_SECTIONS: dict[str, type[Struct]] = {"slurm": JobRequest, "work": Work, "node": Node}
