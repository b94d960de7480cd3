"""What torchrun, or a launcher that sets the same variables, makes of `kdbench run`.

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m kdbench run ...

starts this command once for each process of a run. The first one hands out the runs; each other one is a crew
of one process (workers/agent.py), and finds the first one's door in the store that torchrun gives to all.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.workers.agent import assist
from kdbench.workers.rendezvous import Address, Crew, Door

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]


STORE_TIMEOUT = timedelta(minutes=30)
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")


class Launched(Struct, frozen=True):
    """This process among those that torchrun has started."""

    rank: int
    size: int
    seat: int
    """Its place on its node."""
    here: int
    """Processes on its node."""


def launched() -> Launched | None:
    """What torchrun says; None: it has not started this process.

    Raises:
        UserError: its variables are no numbers.
    """
    if not all(name in os.environ for name in (*NUMBERS, "MASTER_ADDR")):
        return None
    wrong = [name for name in NUMBERS if not os.environ[name].isdecimal()]
    if wrong:
        raise UserError(
            *(f"{name}={os.environ[name]!r} in the environment: torchrun sets a number" for name in wrong)
        )
    return Launched(*(int(os.environ[name]) for name in NUMBERS[:4]))


@contextmanager
def opened(place: Launched) -> Iterator[Door]:
    """The first process's door, while runs are handed out.

    Raises:
        UserError: torchrun's store cannot be reached.
    """
    store = _store()
    door = Door(crews=place.size - 1, each=1, here=place.here)
    store.set(_key(), msgspec.json.encode(door.address).decode())
    try:
        yield door
    finally:
        store.set(_key(), "null")


def help_first(place: Launched, machine: Machine) -> None:
    """Be a process of the first one's runs, until it has no more.

    Raises:
        UserError: torchrun's store cannot be reached.
    """
    store = _store()

    def find() -> Address | None:
        try:
            return msgspec.json.decode(store.get(_key()), type=Address | None)
        except RuntimeError:  # the store is gone, and who held it
            return None

    assist(Crew(place.rank, (place.seat,), socket.gethostname()), machine, find)


def _store() -> "Store":
    from torch.distributed import rendezvous  # type: ignore[attr-defined]

    try:
        store, _, _ = next(rendezvous("env://", timeout=STORE_TIMEOUT))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"torchrun's store at {where} cannot be reached: {str(error).splitlines()[0]}"
        ) from error
    return store  # type: ignore[no-any-return]


def _key() -> str:
    """Of the door, in this life of the group."""
    return f"kdbench/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
