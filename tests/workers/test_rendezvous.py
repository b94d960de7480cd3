"""Where crews call, and what they do when they are told to: real sockets and processes, no training."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from threading import Thread

import pytest
from msgspec.structs import replace

from kdbench.machine import Machine
from kdbench.run.torchrun import Launched, launched
from kdbench.spec.events import Task
from kdbench.workers.agent import assist
from kdbench.workers.peer import Peer, Share
from kdbench.workers.rendezvous import Address, Called, Crew, Door, divide
from tests.support.build import CE, make_run
from tests.support.places import ROOT

SHARE = Share(Task(make_run("resnet18", 0, CE)), 1, 3, "127.0.0.1", 1, "cpu", own_gpus=False)
CREW = Crew(1, (0, 1), "n2")


def obey(pipe: Connection, rank: int) -> None:
    """A process of a run: the third one fails, the others are there until they are ended."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if rank == 2:
        pipe.send(("RuntimeError: no room", "Traceback ..."))
        raise SystemExit(1)
    pipe.send(None)
    with suppress(EOFError):
        pipe.recv()


def begin(_: Machine, share: Share) -> Peer:
    """Start such a process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=obey, args=(theirs, share.rank), daemon=True)
    process.start()
    theirs.close()
    return Peer(share.rank, process, ours)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.syspath_prepend(str(ROOT))  # the processes import this file
    made = Door(crews=1, each=2, here=1)
    made.address = replace(made.address, host="127.0.0.1")
    yield made
    made.socket.close()


@contextmanager
def crew_at(door: Door) -> Iterator[Called]:
    """A crew that has called; it ends when all is over."""
    says: list[Address | None] = [door.address]
    thread = Thread(target=assist, args=(CREW, Machine(), lambda: says[0], begin))
    thread.start()
    (called,) = door.gather()
    try:
        yield called
    finally:
        says[0] = None
        called.pipe.close()
        thread.join(20)
        assert not thread.is_alive()


def children() -> int:
    return len(multiprocessing.active_children())


def test_crew_starts_processes_and_passes_on_what_they_say(door: Door) -> None:
    with crew_at(door) as called:
        assert called.crew == CREW
        called.start([SHARE, replace(SHARE, rank=2)])
        said = [called.receive(), called.receive()]
        assert None in said
        assert ("process 3 of the run failed: RuntimeError: no room", "Traceback ...") in said
    assert children() == 0


def test_crew_ends_processes_when_told_to_and_starts_others(door: Door) -> None:
    with crew_at(door) as called:
        called.start([SHARE])
        assert called.receive() is None
        called.stop()
        called.start([SHARE])
        assert called.receive() is None
        assert children() == 1


def test_process_of_a_crew_that_is_killed_is_told_of(door: Door) -> None:
    with crew_at(door) as called:
        called.start([SHARE])
        assert called.receive() is None
        (child,) = multiprocessing.active_children()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        said = called.receive()
        assert said is not None
        assert said[0].startswith("process 2 of the run died (SIGKILL")


def test_crew_calls_again_when_the_worker_has_died(door: Door) -> None:
    with crew_at(door) as called:
        called.start([SHARE])
        assert called.receive() is None
        called.pipe.close()
        door.called.clear()  # a new worker knows of no crew
        (rerun,) = door.gather()
        rerun.start([SHARE])
        assert rerun.receive() is None
        assert children() == 1
        rerun.pipe.close()


def test_what_is_said_of_an_earlier_run_is_not_heard() -> None:
    ours, theirs = multiprocessing.Pipe()
    called = Called(CREW, ours, order=2)
    theirs.send((1, ("process 2 of the run died", "")))
    theirs.send((2, None))
    assert called.receive() is None
    theirs.close()
    assert called.receive() == ("n2, which has 2 processes of the run, is gone", "")


def test_stranger_without_the_key_is_no_crew(door: Door) -> None:
    def knock() -> None:
        with suppress(AuthenticationError, EOFError, OSError):
            Client((door.address.host, door.address.port), authkey=b"guessed")

    stranger = Thread(target=knock)
    stranger.start()
    with crew_at(door) as called:
        assert called.crew == CREW
    stranger.join(20)


def test_stranger_who_says_nothing_holds_nobody_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdbench.workers.rendezvous.HANDSHAKE_TIMEOUT_S", 1)
    with socket.create_connection((door.address.host, door.address.port)), crew_at(door) as called:
        assert called.crew == CREW


def test_crew_that_does_not_come_is_missed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdbench.workers.rendezvous.GATHER_TIMEOUT_S", 0.1)
    with pytest.raises(ChildProcessError, match=r"0 of 1 have called 127.0.0.1:.* nobody"):
        door.gather()


def test_seats_are_the_crews_own() -> None:
    pipe = multiprocessing.Pipe()[0]
    crews = [Called(Crew(1, (0, 1), "n2"), pipe), Called(Crew(2, (3,), "n3"), pipe)]
    shares = [replace(SHARE, rank=rank) for rank in (1, 2, 3)]
    found = [[(share.rank, share.seat) for share in some] for _, some in divide(shares, crews)]
    assert found == [[(1, 0), (2, 1)], [(3, 3)]]


def test_launched_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() is None
    told = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4, "MASTER_PORT": 29500}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    assert launched() is None
    monkeypatch.setenv("MASTER_ADDR", "n1")
    assert launched() == Launched(rank=5, size=8, seat=1, here=4)
