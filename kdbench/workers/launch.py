"""The processes that train one run, as torch.distributed counts them: ranks.

`run_ranks` starts them on this machine, with what torchrun is made of. torchrun itself, or Slurm through
submitit, starts them too. All set the same variables, which `launched` reads. No torch before it is needed.
"""

import logging
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from secrets import token_hex

from msgspec import Struct

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.spec.events import Died
from kdbench.workers.process import describe_exit, prepare_worker, send

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
EXIT_DELAY_S = 5.0
"""Seconds that a rank whose group is broken waits with its own end: so the first one to end is found."""


class Launched(Struct, frozen=True):
    """This process among the ranks of a group."""

    rank: int
    world_size: int
    local_rank: int
    """Its rank on its node."""
    local_world_size: int
    """Ranks on its node."""


def launched() -> Launched | None:
    """What torchrun's variables say; None: this process is alone.

    Raises:
        UserError: they are no numbers.
    """
    if not all(name in os.environ for name in (*NUMBERS, "MASTER_ADDR")):
        return None
    wrong = [name for name in NUMBERS if not os.environ[name].isdecimal()]
    if wrong:
        raise UserError(
            *(f"{name}={os.environ[name]!r} in the environment: torchrun sets a number" for name in wrong)
        )
    found = Launched(*(int(os.environ[name]) for name in NUMBERS[:4]))
    return found if found.world_size > 1 else None


def run_ranks(target: Callable[..., None], pipe: Connection, machine: Machine, *more: object) -> None:
    """Call a function in each of the ranks that train a run together; where that is one, in this process.

    Several ranks are processes that are started here, whose end is waited for; a death is sent as `Died`.

    Args:
        target: called with the pipe, the machine and more.
        pipe: to who hands out the runs.
        machine: this one.
        more: what else the function gets.
    """
    if machine.local.processes == 1:
        target(pipe, machine, *more)
        return
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what it logs is sent as `Died`
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=machine.local.processes,
        run_id=token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(os.devnull),
        signals_to_handle="SIGQUIT",  # the others reach who hands out the runs, which ends this process
    )
    try:
        elastic_launch(config, _rank)(target, pipe, machine, *more)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        send(pipe, Died(f"process {rank + 1} of the run died ({describe_exit(failure.exitcode)})"))


def _rank(target: Callable[..., None], pipe: Connection, machine: Machine, *more: object) -> None:
    prepare_worker(machine, None)
    target(pipe, machine, *more)
    time.sleep(EXIT_DELAY_S)
    raise SystemExit(1)  # all ranks end at once: torch's launcher would wait for those that return
