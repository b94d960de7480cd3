"""Whether the nodes of a job find each other as the processes of a run do: `doctor --on` starts this on each.

    python -m kdbench.training.meeting FILE

FILE lies in a folder that all of them see, and does not exist yet. Each prints a line of JSON: the nodes that
have met, or why they have not.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from kdbench.store.records import write
from kdbench.training.group import join
from kdbench.workers.rendezvous import own_name

MEETING_TIMEOUT = timedelta(seconds=30)
"""How long nodes look for each other."""


def meet(file: Path, rank: int, size: int, node: str, timeout: timedelta = MEETING_TIMEOUT) -> list[str]:
    """The names of all nodes, by rank, once each has spoken with all others by gloo.

    Args:
        file: where the first one writes how it is found.
        rank: this node's, counted from 0.
        size: how many they are.
        node: what this one is called.
        timeout: how long they look for each other.

    Raises:
        RuntimeError: they do not find each other.
    """
    if rank == 0:
        store = TCPStore(own_name(), 0, size, is_master=True, wait_for_workers=False, timeout=timeout)
        write(file, json.dumps([own_name(), store.port]).encode())
    else:
        host, port = _found(file, timeout)
        store = TCPStore(host, port, size, is_master=False, timeout=timeout)
    join(rank, size, store, torch.device("cpu"), own_gpus=False, timeout=timeout)
    nodes = [""] * size
    torch.distributed.all_gather_object(nodes, node)
    torch.distributed.destroy_process_group()
    return nodes


def _found(file: Path, timeout: timedelta) -> tuple[str, int]:
    """Where the first node is."""
    end = monotonic() + timeout.total_seconds()
    while not file.exists():
        if monotonic() > end:
            raise RuntimeError(f"the first node has not written {file}")
        sleep(0.2)
    host, port = json.loads(file.read_bytes())
    return host, port


def main() -> None:
    """What a node does."""
    rank, size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    node = os.environ.get("SLURMD_NODENAME", "")
    told: dict[str, object] = {"rank": rank, "node": node}
    try:
        told["met"] = meet(Path(sys.argv[1]), rank, size, node)
    except (RuntimeError, OSError) as error:
        told["why"] = str(error).splitlines()[0]
    print(json.dumps(told), flush=True)  # noqa: T201 - for doctor, which started it


if __name__ == "__main__":
    main()
