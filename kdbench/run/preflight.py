"""What is looked at before anything is trained: device, parts of a batch, data, imported teachers."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from kdbench.data.place import fetch_dataset, fetcher_of, look_up
from kdbench.data.weights import fetched
from kdbench.errors import UserError
from kdbench.machine import Machine, load_machine
from kdbench.plan.plugin_runs import codes_of
from kdbench.spec.runs import Run
from kdbench.store.imported import check_imported
from kdbench.workers.call import call_in_subprocess
from kdbench.workers.process import forkable


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


def check_ghost_batches(runs: Iterable[Run], processes: int) -> None:
    """Refuse runs that so many processes cannot share.

    Raises:
        UserError: one sentence for each kind of them.
    """
    if processes == 1:
        return
    found = {}
    for run in runs:
        number = run.recipe.ghost_batches
        if not number or number % processes:
            found[number] = run
    if not found:
        return
    raise UserError(
        *(
            f"processes = {processes} do not share {run.slug} (run {run.id}): its batches are in "
            f"{number or 'no'} ghost batches; --set ghost_batches={processes}, or a multiple, makes it "
            f"another run that can"
            for number, run in sorted(found.items())
        )
    )


def check_device(runs: Iterable[Run], machine: Machine) -> None:
    """Refuse runs that this machine's device cannot train: float32 on whatever there is, it always can.

    Raises:
        UserError: the device is not there, or has no such arithmetic.
    """
    precisions = {run.precision for run in runs}
    if precisions != {"float32"} or machine.local.device not in ("auto", "cpu"):
        list(call_in_subprocess(machine, "kdbench.training.device:check_device", sorted(precisions)))


def check_packages(runs: Iterable[Run], machine: Machine) -> None:
    """Refuse runs whose losses, networks or data sets are of packages and cannot be imported.

    A student's would be found out only after its teacher was trained.

    Raises:
        UserError: one sentence for each of them.
    """
    if codes := codes_of(runs):
        check = "kdbench.plan.plugin_runs:check_codes"
        list(call_in_subprocess(machine, check, codes, forked=forkable(machine)))


def fetch_missing(runs: Sequence[Run], machine: Machine) -> None:
    """Fetch what runs need and is not here: data sets, packed, and published weights.

    The workers verify the data that they open. Imported teachers are only looked for.

    Raises:
        UserError: something cannot be had, or an imported teacher does not fit.
    """
    check_imported(runs, machine.scratch)
    fetcher = fetcher_of(machine, progress=True)
    for weights in {run.weights for run in runs if run.weights}:
        fetched(weights.name, weights.sha256, fetcher)
    for name in dict.fromkeys(run.dataset for run in runs):
        if look_up(name, fetcher.place).state not in ("packed", "generated"):
            fetch_dataset(name, fetcher)
