"""A question to the training side, in a process of its own: who asks imports no torch and holds no GPU."""

from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.machine import Machine
from kdbench.workers.process import Worker, ending, prepare_worker


def ask(machine: Machine, code: str, *more: object) -> Iterator[Any]:
    """What a function yields, in a process that is started as `kdbench run` starts its workers.

    Args:
        machine: this one.
        code: `module:function`, a function of the machine and of what is asked more.
        more: that.

    Raises:
        UserError: the function did, or the process died.
    """
    worker = Worker(machine, answer, (code, *more))
    try:
        while (told := worker.pipe.recv()) is not None:
            said, problems = told
            if problems:
                raise UserError(*problems)
            yield said
    except EOFError as error:
        worker.process.join()
        raise UserError(f"{code}: its process died ({ending(worker.process.exitcode)})") from error
    finally:
        worker.stop()


def answer(pipe: Connection, machine: Machine, code: str, *more: object) -> None:
    """What the process does: it sends all that the function yields, then None; or what is wrong."""
    prepare_worker(machine, None)
    try:
        for said in catalog.load(code)(machine, *more):
            pipe.send((said, ()))
    except UserError as error:
        pipe.send((None, error.problems))
    else:
        pipe.send(None)
