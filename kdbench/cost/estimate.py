"""What a plan costs: arithmetic, hours on the device at hand, memory, disk, and what company saves."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import fsum

from msgspec import Struct
from msgspec.structs import replace

from kdbench import catalog
from kdbench.cost.counts import FLOAT, Cost, cost, images
from kdbench.cost.speeds import Seconds, kind, measured_seconds
from kdbench.device import Device, device_at_hand
from kdbench.formatting import columns, plural
from kdbench.machine import Machine
from kdbench.plan.cohorts import batch_stream_key, batch_streams
from kdbench.plan.selection import Workload, describe_work
from kdbench.spec.runs import Run


class CostItem(Struct, frozen=True):
    """What a run costs when it is trained alone."""

    cost: Cost | None
    """None: one of its networks was not counted."""
    seconds: Seconds | None
    """None: its kind was never measured on this device."""


class CostEstimate(Struct, frozen=True, kw_only=True):
    """What a plan costs."""

    device: Device
    items: Mapping[str, CostItem]
    """By run."""
    shared: Collection[str]
    """Runs whose teacher another run of their cohort asks, too: they need not ask it again."""
    kept: Collection[str]
    """Further runs, whose teacher has been asked by another cohort: its logits are kept."""
    disk: float
    """Bytes of the weights that stay."""
    logits: float
    """Bytes of teachers' logits that are kept, as far as benchmark.toml gives room."""


def estimate_cost(work: Workload, machine: Machine) -> CostEstimate:
    """What the runs of a plan cost on this machine.

    Raises:
        UserError: the record of this device's speeds is broken.
    """
    device = device_at_hand(machine)
    seconds = measured_seconds(machine.results, work.index, device)
    items = _items(work.runs, seconds)
    shared, kept = savings(work.runs)
    weights = [
        len({"best", run.recipe.epochs, *work.keep.get(run.id, ())}) * each.disk
        for run in work.runs
        if (each := items[run.id].cost)
    ]
    return CostEstimate(
        device=device,
        items=items,
        shared=shared,
        kept=kept,
        disk=fsum(weights),
        logits=min(_logits(work.runs), machine.local.logits_gib * 2**30),
    )


def _items(runs: Iterable[Run], seconds: Callable[[Run], Seconds | None]) -> dict[str, CostItem]:
    """Runs that differ in seed or loss alone cost the same."""
    known: dict[object, CostItem] = {}
    items = {}
    for run in runs:
        like = (kind(run), run.recipe)
        if like not in known:
            known[like] = CostItem(cost(run), seconds(run))
        items[run.id] = known[like]
    return items


def savings(runs: Sequence[Run]) -> tuple[frozenset[str], frozenset[str]]:
    """The runs that ask no teacher because one of their cohort does, and because its logits were kept."""
    streams = [stream for stream in batch_streams(runs) if stream[0].taught]
    shared = frozenset(run.id for stream in streams for run in stream[1:])
    # the longest stream of the same views asks the teacher, and the others read what was kept of it
    asked: set[object] = set()
    kept = set()
    for stream in sorted(streams, key=lambda stream: -stream[0].recipe.epochs):
        if all(catalog.find("losses", run.loss.name).logits_only for run in stream):
            if (views := _views(stream[0])) in asked:
                kept.add(stream[0].id)
            asked.add(views)
    return shared, frozenset(kept)


def describe_cost(estimate: CostEstimate, runs: Sequence[Run], suites: Sequence[str]) -> Iterator[str]:
    """The estimate for a terminal.

    Args:
        estimate: of these runs.
        runs: in the order of the plan.
        suites: those asked for, for the command that measures what was not.
    """
    costs = [item.cost for run in runs if (item := estimate.items[run.id]).cost]
    if len(costs) < len(runs):
        yield f"not counted: {plural(len(runs) - len(costs), 'run')} of networks that kdbench does not know"
    flops = fsum(each.work.flops for each in costs)
    traffic = fsum(each.work.bytes for each in costs)
    read = figures(traffic / 1e12)
    if costs:
        yield f"arithmetic   {figures(flops / 1e15)} PFLOP, at least {read} TB read and written"
    yield f"time         {'; '.join(_time(estimate, runs, suites))}"
    for what, ids in (("cohorts", estimate.shared), ("kept logits", estimate.kept)):
        if ids:
            yield f"{what:<12} {_saved(estimate, runs, ids, flops)}"
    if not costs:
        return
    most = max(each.memory for each in costs)
    yield f"memory       {_size(most)} for the largest run alone: weights, gradients, activations"
    logits = f", up to {_size(estimate.logits)} of teachers' logits" if estimate.logits else ""
    yield f"disk         {_size(estimate.disk)} of weights{logits}"


def _size(count: float) -> str:
    """Bytes as `14.17 GiB`, and less than a hundredth of a GiB as `0.35 MiB`."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 / 100 else f"{count / 2**20:,.2f} MiB"


def run_cost(estimate: CostEstimate, run: Run) -> tuple[str, str]:
    """A run's PFLOP and time, `-` where it was not counted or measured."""
    item = estimate.items[run.id]
    return (
        figures(item.cost.work.flops / 1e15) if item.cost else "-",
        hours(item.seconds.whole) if item.seconds else "-",
    )


def _time(estimate: CostEstimate, runs: Sequence[Run], suites: Sequence[str]) -> Iterator[str]:
    """The hours as far as they were measured; nothing is guessed."""
    items = [estimate.items[run.id].seconds for run in runs]
    found = [each.whole for each in items if each]
    if found:
        part = "" if len(found) == len(runs) else f"{len(found)} of "
        yield f"{hours(fsum(found))} on {estimate.device} for {part}{plural(len(runs), 'run')}, each alone"
    if len(found) < len(runs):
        left = plural(len(runs) - len(found), "run")
        yield f"unmeasured on {estimate.device}: {left}; `kdbench bench {' '.join(suites)}` measures"


def _saved(estimate: CostEstimate, runs: Sequence[Run], ids: Collection[str], flops: float) -> str:
    of = [estimate.items[run.id] for run in runs if run.id in ids]
    share = fsum(item.cost.teaching.flops for item in of if item.cost) / flops if flops else 0
    who = plural(len(of), "run")
    text = f"save {who} their teacher's forward passes: {100 * share:.1f} % of the arithmetic"
    known = [item.seconds.teaching for item in of if item.seconds and item.seconds.teaching is not None]
    return f"{text}, {hours(fsum(known))}" if len(known) == len(of) else text


def _views(run: Run) -> object:
    """What the kept logits of a teacher depend on: a cohort's stream of batches, but for its length."""
    return batch_stream_key(replace(run, recipe=replace(run.recipe, epochs=1)))


def _logits(runs: Sequence[Run]) -> float:
    """Bytes of the logits that teachers could leave, float32, an epoch's for each epoch."""
    found: dict[object, float] = {}
    for run in runs:
        if run.taught and catalog.find("losses", run.loss.name).logits_only:
            size = FLOAT * run.outputs * images(run)[0]
            found[_views(run)] = max(size, found.get(_views(run), 0))
    return fsum(found.values())


def hours(seconds: float) -> str:
    """`36.5 h`, `12 min`, `40 s`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def figures(value: float) -> str:
    """`0.123`, `12.3`, `12,345`: three figures at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def describe_plan(work: Workload, estimate: CostEstimate) -> Iterator[str]:
    """What is stored, what would be trained, and what that costs."""
    yield describe_work(work)
    if not work.runs:
        return
    rows = []
    for run in work.runs:
        cost = run_cost(estimate, run)
        rows.append((run.id, run.slug, run.seed, run.recipe.epochs, _taught(run), *cost, _why(work, run)))
    yield columns(rows, ["run", "what", "seed", "epochs", "teacher", "PFLOP", "time", ""])
    yield ""
    suites = [suite.address for suite, _ in work.suites]
    yield from describe_cost(estimate, work.runs, suites)


def _taught(run: Run) -> str:
    if run.imported is not None:
        return f"imported {run.imported.sha256[:12]}"
    return "" if run.teacher is None else f"{run.teacher.run.id} at {run.teacher.epoch}"


def _why(work: Workload, run: Run) -> str:
    return "stored; trained again for its weights or as asked" if run.id in work.retrained else ""
