"""`doctor --on slurm`: whether this cluster can train, and what to fix; one small job looks at a node."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

from kdbench.cluster.profiles import Profile, check_shared, load_profile
from kdbench.cluster.sbatch import exports, sbatch_options
from kdbench.cluster.scheduler import COMMANDS, run_command
from kdbench.cluster.submit import shared_machine
from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.upkeep.doctor import Diagnosis, examine_folders
from kdbench.version import __version__

SRUN_TIMEOUT_S = 90
"""Seconds that a node may take to answer; in a long queue doctor says so instead of waiting."""
PROBE = """
import json, os, sys
found = {"node": os.environ.get("SLURMD_NODENAME", ""), "python": sys.version.split()[0]}
probe, *folders = sys.argv[1:]
found["folders"] = {f: os.path.isfile(os.path.join(f, probe)) and os.access(f, os.W_OK) for f in folders}
try:
    import kdbench, torch
    found["kdbench"], found["torch"] = kdbench.__version__, torch.__version__
    found["gpus"] = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
except ImportError as error:
    found["lacks"] = str(error)
found["visible"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")
found["driver"] = any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd")))
print(json.dumps(found))
"""
JOIN = """
import datetime, json, os
import torch.distributed
from kdbench.cluster.sbatch import export_rank
found = {"node": os.environ.get("SLURMD_NODENAME", "")}
try:
    found["rank"] = export_rank()
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=30))
    nodes = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(nodes, found["node"])
    found["nodes"] = nodes
    torch.distributed.destroy_process_group()  # else its threads may abort the process at its end
except (RuntimeError, OSError) as error:
    found["why"] = str(error).splitlines()[0]
print(json.dumps(found))
"""
"""The nodes of a job, found as the ranks of a run find each other."""


def examine(profile_name: str) -> list[Diagnosis]:
    """Everything that jobs need.

    Raises:
        UserError: benchmark.toml or the profile is wrong.
    """
    machine = shared_machine()
    profile = load_profile(profile_name, machine, sbatch_options())
    commands = [
        Diagnosis(name, shutil.which(name) or "not on PATH", bool(shutil.which(name))) for name in COMMANDS
    ]
    if not all(each.ok for each in commands):
        return [
            *commands,
            Diagnosis("slurm", "`slurm/dev-cluster.sh up` makes a cluster of this machine", ok=False),
        ]
    return [*commands, *_controller(profile), *_folders(machine, profile), *_node(machine, profile)]


def _controller(profile: Profile) -> Iterator[Diagnosis]:
    yield _asked("version", "sinfo", "--version")
    accounting = _asked("accounting", "sacct", "--noheader", "--allocations", "--starttime=now")
    found = "sacct answers" if accounting.ok else f"{accounting.found}; kdbench finds its jobs without"
    yield Diagnosis("accounting", found)
    if partition := profile.slurm.partition:
        hint = f"no partition {partition}; `sinfo` lists them: fix [slurm] partition"
        shown = "--format=%P, %a, %D nodes, %l, %G"
        yield _asked("partition", "sinfo", "--noheader", f"--partition={partition}", shown, nothing=hint)
    if account := profile.slurm.account:
        hint = f"no account {account}; `sacctmgr show associations` lists them: fix [slurm] account"
        asked = ("sacctmgr", "--noheader", "--parsable2", "show", "associations", f"account={account}")
        yield _asked("account", *asked, "format=account,user,qos", nothing=hint)


def _asked(what: str, *command: str, nothing: str = "") -> Diagnosis:
    """What a command says, in a line; `nothing`: what is wrong if that is nothing."""
    try:
        output = "; ".join(run_command(*command).split("\n")).strip("; ")
    except UserError as error:
        return Diagnosis(what, str(error), ok=False)
    return Diagnosis(what, output or nothing, ok=bool(output or not nothing))


def _folders(machine: Machine, profile: Profile) -> Iterator[Diagnosis]:
    folders = {"results": machine.results, "scratch": machine.scratch, "data": Path(machine.data.folder)}
    try:
        check_shared(profile, folders)
    except UserError as error:
        yield from (Diagnosis("shared", problem, ok=False) for problem in error.problems)
    yield from examine_folders(folders)


def _node(machine: Machine, profile: Profile) -> Iterator[Diagnosis]:
    """What a node sees: a file that we put into each folder, its GPUs, its Python."""
    wanted = (machine.results, machine.scratch, Path(machine.data.folder))
    folders = [folder for folder in wanted if folder.is_dir()]
    name = f".doctor.{token_hex(4)}"
    try:
        for folder in folders:
            (folder / name).touch()
        seen = _probe(profile, name, folders)
    except (UserError, OSError) as error:
        yield Diagnosis("node", f"no job could look at one: {error}", ok=False)
        return
    finally:
        for folder in folders:
            (folder / name).unlink(missing_ok=True)
    yield Diagnosis("node", f"{seen['node']}, Python {seen['python']}")
    for folder, ok in seen["folders"].items():
        hint = "" if ok else f": {seen['node']} cannot see or write it; use a folder that nodes share"
        yield Diagnosis("on the node", f"{folder}{hint}", ok)
    yield from _training(seen, profile)
    if profile.work.nodes > 1 and "lacks" not in seen:
        yield _several(profile)


def _training(seen: dict[str, Any], profile: Profile) -> Iterator[Diagnosis]:
    if "lacks" in seen:
        yield Diagnosis("kdbench there", f"{seen['lacks']}: fix [node] python or setup", ok=False)
        return
    same = seen["kdbench"] == __version__
    hint = "" if same else f", but {__version__} here: install the same on both"
    yield Diagnosis("kdbench there", f"{seen['kdbench']}, torch {seen['torch']}{hint}", same)
    yield _gpus(seen, profile.slurm.gpus_per_node)


def _gpus(seen: dict[str, Any], wanted: int) -> Diagnosis:
    names = ", ".join(seen["gpus"]) or "none"
    seen_text = f"torch sees {names}, CUDA_VISIBLE_DEVICES = {seen['visible'] or 'nothing'}"
    if not wanted:
        return Diagnosis("GPUs there", f"none asked for; {seen_text}")
    if len(seen["gpus"]) == wanted:
        return Diagnosis("GPUs there", seen_text)
    if seen["driver"] or not seen["visible"]:
        hint = f"{wanted} were asked for: fix [slurm] gpus_per_node, or install a torch for these GPUs"
        return Diagnosis("GPUs there", f"{seen_text}; {hint}", ok=False)
    return Diagnosis("GPUs there", f"{seen_text}; the node has no GPU driver: runs are trained on its CPU")


def _probe(profile: Profile, name: str, folders: list[Path]) -> dict[str, Any]:
    lines = _on_nodes(profile, 1, "-c", PROBE, name, *map(str, folders))
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _several(profile: Profile) -> Diagnosis:
    """Whether as many nodes as a run has find each other."""
    try:
        lines = _on_nodes(profile, profile.work.nodes, "-c", JOIN)
    except UserError as error:
        return Diagnosis("nodes", f"no job could try {profile.work.nodes} of them: {error}", ok=False)
    reports = [json.loads(line) for line in lines if line.startswith("{")]
    found = [report["nodes"] for report in reports if "nodes" in report]
    if len(found) == profile.work.nodes:
        return Diagnosis("nodes", f"{' and '.join(found[0])} find each other")
    causes = "; ".join(f"{report['node']}: {report['why']}" for report in reports if "why" in report)
    hint = "fix their host names, or [environment] GLOO_SOCKET_IFNAME"
    return Diagnosis("nodes", f"they do not find each other ({causes or 'no answer'}): {hint}", ok=False)


def _on_nodes(profile: Profile, nodes: int, *words: str) -> list[str]:
    """What Python says on so many nodes of a profile, as its jobs start it: lines.

    Raises:
        UserError: no job could ask.
    """
    asked = profile.slurm
    flags = {
        "partition": asked.partition,
        "account": asked.account,
        "qos": asked.qos,
        "constraint": asked.constraint,
        "gpus-per-node": str(asked.gpus_per_node or ""),
        "gres": asked.gres,
    }
    given = [f"--{key}={value}" for key, value in flags.items() if value]
    start = ["export SUBMITIT_EXECUTOR=slurm", *exports(profile), *profile.node.setup]
    lines = [*start, f'exec {profile.node.python or sys.executable} "$@"']
    job = [
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--time=5",
        f"--immediate={SRUN_TIMEOUT_S - 30}",
        "--quiet",
    ]
    shell = ["bash", "-c", "\n".join(lines), "bash"]
    return run_command("srun", *given, *job, *shell, *words, seconds=SRUN_TIMEOUT_S).strip().splitlines()
