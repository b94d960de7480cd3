"""What `kdbench run` does between the plan and the verdicts."""

import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from msgspec import Struct
from msgspec.structs import replace

from kdbench.data.place import fetch_dataset, fetch_weights, list_datasets, where
from kdbench.dispatch import dispatch
from kdbench.errors import StoppedError, UserError
from kdbench.executors.asking import ask
from kdbench.executors.door import Door
from kdbench.executors.local import LocalExecutor, default_slots
from kdbench.executors.torchrun import Launched, help_first, launched, opened
from kdbench.importing.stored import check_imported
from kdbench.machine import Machine, load_machine
from kdbench.progress import follow, viewer
from kdbench.spec import Run
from kdbench.store import check_writable
from kdbench.text import describe_work
from kdbench.workload import Selection, Workload, find_work


class Way(Struct, frozen=True):
    """How runs are trained on this machine; no number depends on it."""

    slots: int | None = None
    """Cohorts at a time (None: as many as benchmark.toml says, else as there is room for)."""
    again: bool = False
    cohorts: bool = True
    door: Door | None = None
    """Where the other processes of each run call."""


def prepare(chosen: Selection, *, again: bool, offline: bool) -> tuple[Workload, Machine]:
    """What there is to do, on this machine.

    Raises:
        UserError: a suite or benchmark.toml is wrong.
    """
    machine = this_machine(offline=offline)
    return find_work(chosen, machine, again=again), machine


def train(
    chosen: Selection,
    *,
    on: str,
    wait: bool = True,
    slots: int | None = None,
    again: bool = False,
    cohorts: bool = True,
    deterministic: bool = False,
    offline: bool = False,
    processes: int | None = None,
) -> bool:
    """Train what is missing, here or on a cluster.

    Returns:
        Whether it is over and this process's to judge: jobs that are not waited for go on.

    Raises:
        UserError: a suite, benchmark.toml or the profile is wrong, or nothing can be trained or submitted.
    """
    place = launched()
    if on == "local":
        machine = this_machine(offline=offline, deterministic=deterministic, processes=processes)
        way = Way(slots=slots, again=again, cohorts=cohorts)
        return _train_launched(chosen, machine, way, place) if place else _train_here(chosen, machine, way)
    if place:
        raise UserError(f"--on {on} submits jobs of its own; torchrun is for --on local")
    if chosen.auto:
        raise UserError("--seeds auto looks after each seed, which is for --on local; give seeds, as 0-4")
    if again or slots is not None or processes is not None or not cohorts or deterministic:
        raise UserError(
            "--again, --jobs, --processes, --no-cohorts and --deterministic are for --on local; a profile "
            "has [work] slots and processes, and [local] deterministic in benchmark.toml counts everywhere"
        )
    from kdbench.cluster import commands

    commands.train(chosen, commands.profile_of(on), wait=wait, offline=offline)
    return wait


def _train_here(chosen: Selection, machine: Machine, way: Way) -> bool:
    if chosen.auto:
        _train_auto(chosen, machine, way)
    else:
        train_missing(find_work(chosen, machine, again=way.again), machine, way)
    return True


def _train_launched(chosen: Selection, machine: Machine, way: Way, place: Launched) -> bool:
    """As one of the processes that torchrun has started: the first hands out the runs, all share each."""
    if place.rank:
        help_first(place, machine)
        return False
    with opened(place) as door:
        if way.slots is not None or machine.local.processes > 1:
            raise UserError(
                f"torchrun has started {place.size} processes, and they share each run: leave out --jobs, "
                f"--processes and [local] processes"
            )
        return _train_here(chosen, machine, replace(way, door=door, slots=1))


def _train_auto(chosen: Selection, machine: Machine, way: Way) -> None:
    """Train seed after seed until every row is decided or has its most."""
    from kdbench.seeds.deciding import decide

    if way.again:
        raise UserError("--again trains what has a result; --seeds auto asks for seeds that have none")
    if chosen.controls:
        raise UserError("--seeds auto trains no controls; train them afterwards, with --seeds 0-4 or as many")
    check_writable(machine.results)
    decide(chosen, machine, lambda work: train_missing(work, machine, way))


def this_machine(*, offline: bool, deterministic: bool = False, processes: int | None = None) -> Machine:
    """What benchmark.toml says of this machine.

    Args:
        offline: never touch the network.
        deterministic: only algorithms that give the same numbers each time, also on a GPU.
        processes: that share each run (None: as many as benchmark.toml says).
    """
    machine = load_machine()
    local, data = machine.local, machine.data
    return replace(
        machine,
        local=replace(
            local,
            deterministic=local.deterministic or deterministic,
            processes=processes or local.processes,
        ),
        data=replace(data, offline=data.offline or offline),
    )


def train_missing(work: Workload, machine: Machine, way: Way) -> None:
    """Train what has no result, in as many processes as there are slots.

    Raises:
        UserError: results cannot be written, the device cannot train what is asked for, or a data set or an
            imported teacher cannot be had, is damaged or does not fit.
    """
    import click

    click.echo(describe_work(work), err=True)
    if not work.runs:
        return
    check_parts(work.runs, machine.local.processes + (way.door.others if way.door else 0))
    check_device(work.runs, machine)
    check_writable(machine.results)
    check_writable(machine.scratch)
    fetch_missing(work.runs, machine)
    executor = LocalExecutor(machine, way.slots or default_slots(machine), way.door)
    try:
        with stoppable(), viewer(work.runs) as view:
            events = dispatch(work.runs, executor, keep=work.keep, again=way.again, cohorts=way.cohorts)
            follow(events, view)
    finally:
        executor.close()


def check_parts(runs: Iterable[Run], processes: int) -> None:
    """Refuse runs that so many processes cannot share.

    Raises:
        UserError: one sentence for each kind of them.
    """
    found = {run.recipe.parts: run for run in runs if not run.recipe.parts or run.recipe.parts % processes}
    if processes == 1 or not found:
        return
    raise UserError(
        *(
            f"processes = {processes} do not share {run.slug} (run {run.id}): its batches are in "
            f"{parts or 'no'} parts; --set parts={processes}, or a multiple, makes it another run that can"
            for parts, run in sorted(found.items())
        )
    )


def check_device(runs: Iterable[Run], machine: Machine) -> None:
    """Refuse runs that this machine's device cannot train: float32 on whatever there is, it always can.

    Raises:
        UserError: the device is not there, or has no such arithmetic.
    """
    precisions = {run.precision for run in runs}
    if precisions != {"float32"} or machine.local.device not in ("auto", "cpu"):
        list(ask(machine, "kdbench.training.world:check_device", sorted(precisions)))


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


def fetch_missing(runs: Sequence[Run], machine: Machine) -> None:
    """Fetch what runs need and is not here: data sets, packed, and published weights.

    The workers verify the data that they open. Imported teachers are only looked for.

    Raises:
        UserError: something cannot be had, or an imported teacher does not fit.
    """
    check_imported(runs, machine.scratch)
    place, data = where(machine.data_folder).path, machine.data
    datasets = {run.dataset for run in runs}
    for weights in {run.weights for run in runs if run.weights}:
        fetch_weights(
            weights.name,
            weights.sha256,
            place,
            offline=data.offline,
            progress=True,
            mirrors=data.mirrors,
        )
    for row in list_datasets(place):
        if row.name in datasets and row.state != "packed":
            fetch_dataset(row.name, place, offline=data.offline, progress=True, mirrors=data.mirrors)
