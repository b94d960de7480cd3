"""What `kdbench run` does between the plan and the verdicts."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import click
from msgspec import Struct

from kdbench.data.place import where
from kdbench.errors import StoppedError, UserError
from kdbench.machine import Machine
from kdbench.plan.selection import Selection, Workload, describe_work, find_work
from kdbench.run.dispatch import dispatch
from kdbench.run.executor import LocalExecutor, default_workers
from kdbench.run.preflight import (
    check_device,
    check_ghost_batches,
    check_packages,
    fetch_missing,
    this_machine,
)
from kdbench.run.progress import follow, viewer
from kdbench.run.repeats import describe_repeats
from kdbench.spec.results import Failure
from kdbench.store.files import check_writable
from kdbench.store.records import index
from kdbench.workers.launch import launched
from kdbench.workers.process import set_environment


class RunOptions(Struct, frozen=True):
    """How runs are trained on this machine; no number depends on it."""

    workers: int | None = None
    """Cohorts at a time (None: as many as benchmark.toml says, else as there is room for)."""
    rerun: bool = False
    cohorts: bool = True


class Trained(Struct, frozen=True):
    """What came of a wish to train."""

    over: bool
    """Whether it has ended and is this process's to judge: jobs that are not waited for go on, and under
    torchrun the first rank judges."""
    failed: Mapping[str, Failure | None]
    """By run that failed in this command: why, which a full disk may have kept from being stored; None of one
    that is blocked."""
    machine: Machine
    """Where they were trained, and are judged."""
    repeated: str = ""
    """What runs that have a result and were trained again gave; "" where none were."""


def prepare(chosen: Selection, *, rerun: bool, offline: bool) -> tuple[Workload, Machine]:
    """What there is to do, on this machine.

    Raises:
        UserError: a suite or benchmark.toml is wrong.
    """
    machine = this_machine(offline=offline)
    if chosen.auto:
        from kdbench.run.auto_seeds import first_work

        _check_auto(chosen, rerun=rerun)
        return first_work(chosen, machine), machine
    return find_work(chosen, machine, rerun=rerun), machine


def train(chosen: Selection, machine: Machine, options: RunOptions) -> Trained:
    """Train what is missing on this machine; as a rank that torchrun has started, together with the others.

    Raises:
        UserError: a suite or benchmark.toml is wrong, or nothing can be trained.
    """
    rank = launched()
    if rank is not None:
        if options.workers is not None or machine.local.processes > 1:
            raise UserError(
                f"torchrun has started {rank.world_size} processes, which train each run together: leave out "
                f"--jobs, --processes and [local] processes"
            )
        if rank.rank > 0:
            follow_first(machine)
            return Trained(over=False, failed={}, machine=machine)
    if chosen.auto:
        failed = _train_auto(chosen, machine, options)
        return Trained(over=True, failed=failed, machine=machine)
    work = find_work(chosen, machine, rerun=options.rerun)
    failed = train_missing(work, machine, options)
    again = work.retrained - failed.keys()
    repeated = describe_repeats(index(machine.results), again) if again else ""
    return Trained(over=True, failed=failed, machine=machine, repeated=repeated)


def follow_first(machine: Machine) -> None:
    """Be a further rank, in this process: train with the first one, until that has ended."""
    set_environment(machine)
    from kdbench.training.context import open_context
    from kdbench.training.task import follow

    follow(open_context(machine, as_rank=True))


def _check_auto(chosen: Selection, *, rerun: bool) -> None:
    """Refuse what contradicts `--seeds auto`.

    Raises:
        UserError: it trains neither again what has a result, nor controls.
    """
    if rerun:
        raise UserError("--rerun trains what has a result; --seeds auto asks for seeds that have none")
    if chosen.controls:
        raise UserError("--seeds auto trains no controls; train them afterwards, with --seeds 0-4 or as many")


def _train_auto(chosen: Selection, machine: Machine, options: RunOptions) -> dict[str, Failure | None]:
    """Train seed after seed until every row is decided or has its most; which runs failed."""
    from kdbench.run.auto_seeds import decide

    _check_auto(chosen, rerun=options.rerun)
    check_writable(machine.results)
    failed: dict[str, Failure | None] = {}

    def train_seed(work: Workload) -> None:
        failed.update(train_missing(work, machine, options))

    decide(chosen, machine, train_seed)
    return failed


def train_missing(work: Workload, machine: Machine, options: RunOptions) -> dict[str, Failure | None]:
    """Train what has no result, in as many processes as there are workers.

    Returns:
        The runs that failed, and why; None of those that are blocked.

    Raises:
        UserError: results cannot be written, the device cannot train what is asked for, a package's code
            cannot be imported, or a data set or an imported teacher cannot be had, is damaged or does not
            fit.
    """
    click.echo(describe_work(work), err=True)
    if not work.runs:
        return {}
    rank = launched()
    ranks = rank.world_size if rank else machine.local.processes
    check_ghost_batches(work.runs, ranks)
    check_device(work.runs, machine)
    check_writable(machine.results)
    check_writable(machine.scratch)
    where(machine.data_folder)  # what is wrong with it is told before a process imports torch
    executor = LocalExecutor(machine, 1 if rank else options.workers or default_workers(machine))
    executor.warm_up()
    check_packages(work.runs, machine)
    fetch_missing(work.runs, machine)
    try:
        with stoppable(), viewer(work.runs, lambda: len(executor.workers)) as view:
            cohorts = options.cohorts and ranks == 1
            events = dispatch(
                work.runs, executor, keep=work.keep, rerun=options.rerun, cohorts=cohorts, trials=work.trials
            )
            return follow(events, view)
    finally:
        executor.close()


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the training as Ctrl-C does; one that is ignored (nohup) stays so."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise StoppedError(number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if _is_default(number)]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _is_default(number: int) -> bool:
    main = threading.current_thread() is threading.main_thread()  # another one may set no handler
    return main and signal.getsignal(number) is signal.SIG_DFL
