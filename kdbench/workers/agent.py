"""What keeps the processes of runs on another node of a job, or for another process of torchrun: a crew.

It calls at the door of who hands out the runs (workers/rendezvous.py), starts processes when it is told to,
passes on what they say, and ends when all is over. No torch here.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, wait

from kdbench.machine import Machine
from kdbench.workers.peer import Peer, Share, start
from kdbench.workers.rendezvous import Address, Crew

AGAIN = 0.5
"""Seconds until a door where nobody answers is looked for again."""
Start = Callable[[Machine, Share], Peer]


def assist(crew: Crew, machine: Machine, find: Callable[[], Address | None], start: Start = start) -> None:
    """Start processes of runs whenever told to.

    Args:
        crew: who this is.
        machine: this one.
        find: where the door is now, waiting for it if need be; None: all is over.
        start: how a process is started.
    """
    while (address := find()) is not None:
        try:
            pipe = Client((address.host, address.port), authkey=address.key.encode())
            pipe.send(crew)
        except (OSError, EOFError, AuthenticationError):
            time.sleep(AGAIN)
            continue
        with pipe, suppress(EOFError, OSError):  # whoever told it what to do has ended, or died
            serve(pipe, machine, start)


def serve(pipe: Connection, machine: Machine, start: Start) -> None:
    """Do what one worker tells this crew to, until it ends.

    Raises:
        EOFError: it has.
    """
    others: list[Peer] = []
    order = 0
    try:
        while True:
            for ready in wait([pipe, *(other.pipe for other in others)]):
                if ready is pipe:
                    order, shares = pipe.recv()
                    end(others, at_once=not shares)
                    others = [start(machine, share) for share in shares]
                    break
                (other,) = (other for other in others if other.pipe is ready)
                pass_on(pipe, order, other, others)
    finally:
        end(others, at_once=True)


def pass_on(pipe: Connection, order: int, other: Peer, others: list[Peer]) -> None:
    """Tell what a process says; one that has done its share has nothing to say."""
    message = other.receive()
    if message is not None:
        others.remove(other)
        other.finish()
    if message is None or other.process.exitcode != 0:
        pipe.send((order, message))


def end(others: list[Peer], *, at_once: bool) -> None:
    """End what is left of a run."""
    for other in others:
        if not at_once:
            other.finish()
        other.stop()
