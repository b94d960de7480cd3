"""A function of the training side, called in a process of its own: who calls it imports no torch."""

import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.workers.process import Worker, describe_exit, prepare_worker, send


def call_in_subprocess(machine: Machine, code: str, *more: object, forked: bool = False) -> Iterator[Any]:
    """What a function yields, in a process that is started as `kdbench run` starts its workers.

    Args:
        machine: this one.
        code: `module:function`, called with the machine and more.
        more: what else it gets.
        forked: let it be a fork of the workers' server, should there be one, which has imported torch.

    Raises:
        UserError: the function did, or the process died.
        OSError: the function did, for a place that cannot be read or written.
        RuntimeError: the function raised another error; its traceback is a note of this one.
    """
    worker = Worker(machine, answer, (code, *more), forked=forked)
    try:
        while (message := worker.pipe.recv()) is not None:
            value, error = message
            if error is not None:
                raise error
            yield value
    except EOFError as error:
        worker.process.join()
        raise UserError(f"{code}: its process died ({describe_exit(worker.process.exitcode)})") from error
    finally:
        worker.stop()


def answer(pipe: Connection, machine: Machine, code: str, *more: object) -> None:
    """What the process does: it sends all that the function yields, then None; or what is wrong."""
    prepare_worker(machine, None)
    try:
        for value in catalog.load(code)(machine, *more):
            send(pipe, (value, None))
    except Exception as error:  # noqa: BLE001 - the caller raises it, and no process prints a traceback
        send(pipe, (None, _sendable(error)))
    else:
        send(pipe, None)


def _sendable(error: Exception) -> Exception:
    """An error as the caller raises it: what the command line knows as it is, else with its traceback."""
    if isinstance(error, UserError):
        return UserError(*error.problems)
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    whole = RuntimeError(f"{type(error).__name__}: {error}")
    whole.add_note("".join(traceback.format_exception(error)))
    return whole
