"""How the first process of a run reaches those on other nodes, and those that torchrun has started.

Who hands out runs has a door: an address, and a key. Its worker, which trains, stands behind it. Each *crew*
calls there (workers/agent.py), says how many processes it can start, and starts them for each run that it is
told of. No torch here.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from os import dup
from secrets import token_hex
from struct import pack
from time import monotonic

from msgspec import Struct

from kdbench.workers.peer import Message, Share

GATHER_TIMEOUT_S = 600.0
"""Seconds that the first run waits for the crews: nodes start at different times."""
HANDSHAKE_TIMEOUT_S = 10
"""Seconds until who called and says nothing is no crew."""


class Address(Struct, frozen=True):
    """Where a door is, and what opens it."""

    host: str
    port: int
    key: str


class Crew(Struct, frozen=True):
    """Who calls."""

    number: int
    """Its node's, or its process's; that of who hands out the runs is 0."""
    seats: tuple[int, ...]
    """Of the processes that it starts: which of the GPUs there each one takes."""
    node: str


@dataclass
class Called:
    """A crew that has called."""

    crew: Crew
    pipe: Connection
    order: int = 0
    """Counts the runs: what is said of an earlier one is not heard."""

    @property
    def count(self) -> int:
        """Processes that are heard here."""
        return len(self.crew.seats)

    def start(self, shares: Sequence[Share]) -> None:
        """Let it start processes of a run.

        Raises:
            OSError: it is gone.
        """
        self.order += 1
        self.pipe.send((self.order, tuple(shares)))

    def receive(self) -> Message:
        """What one of its processes says next, or that it is gone itself."""
        try:
            while True:
                order, message = self.pipe.recv()
                if order == self.order:
                    return message  # type: ignore[no-any-return]
        except (EOFError, OSError):
            return f"{self.crew.node}, which has {self.count} processes of the run, is gone", ""

    def finish(self) -> None:
        """It sees to it that they end."""

    def stop(self) -> None:
        """Let it end them, now."""
        try:
            self.pipe.send((self.order, ()))
        except OSError:
            return  # and they with it


@dataclass
class Door:
    """Where crews call.

    Args:
        crews: how many will.
        each: processes that each of them starts.
        here: processes of a run on this node, the first one among them.
    """

    crews: int
    each: int
    here: int
    called: list[Called] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("", 0), backlog=self.crews)
        self.address = Address(own_name(), self.socket.getsockname()[1], token_hex(32))

    @property
    def others(self) -> int:
        """Processes of a run that crews start."""
        return self.crews * self.each

    def gather(self) -> list[Called]:
        """All crews, in their order, once they have called.

        Raises:
            ChildProcessError: not all of them have, for long enough.
        """
        end = monotonic() + GATHER_TIMEOUT_S
        while len(self.called) < self.crews:
            try:
                self.called.append(self._let_in(end - monotonic()))
            except TimeoutError:
                there = ", ".join(each.crew.node for each in self.called) or "nobody"
                where = f"{self.address.host}:{self.address.port}"
                raise ChildProcessError(
                    f"{len(self.called)} of {self.crews} have called {where} "
                    f"in {GATHER_TIMEOUT_S:.0f} s: {there}"
                ) from None
            except (AuthenticationError, EOFError, OSError):
                continue  # a stranger, or one that died meanwhile
        self.called.sort(key=lambda each: each.crew.number)
        return self.called

    def _let_in(self, seconds: float) -> Called:
        self.socket.settimeout(max(seconds, 1e-3))
        caller, _ = self.socket.accept()
        with caller:
            caller.settimeout(None)
            pipe, key = Connection(dup(caller.fileno())), self.address.key.encode()
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("ll", HANDSHAKE_TIMEOUT_S, 0))
            deliver_challenge(pipe, key)
            answer_challenge(pipe, key)
            crew = pipe.recv()
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("ll", 0, 0))
        return Called(crew, pipe)


def own_name() -> str:
    """What others call this machine; where that means nothing, there are no others."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return "127.0.0.1"
    return name


def divide(shares: Sequence[Share], crews: Sequence[Called]) -> Iterator[tuple[Called, list[Share]]]:
    """The processes of a run that each crew starts, with their seats."""
    from msgspec.structs import replace

    at = count()
    for each in crews:
        yield each, [replace(shares[next(at)], seat=seat) for seat in each.crew.seats]
