"""How much of the difference between paper and code each delta explains: `kdbench attribute`. Pure.

The row is trained as printed (no delta), as released (all of them), with each delta alone, and with all but
each. What a delta explains is the mean of two effects: switched on where none is, and switched off where all
are. Deltas whose effects add up explain the whole; what is left over is their interaction.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdbench.errors import UserError
from kdbench.formatting import columns, plural, plus_minus
from kdbench.plan.expand import expand
from kdbench.plan.lookup import find_trained_row
from kdbench.plan.selection import workload_of
from kdbench.run import local, preflight
from kdbench.spec.results import Result
from kdbench.spec.suites import Cell, Delta, Suite
from kdbench.store.records import index, load_results
from kdbench.verdict.check import values_of
from kdbench.verdict.paired import Paired, Values, paired
from kdbench.verdict.stats import mean

Resolve = Callable[[Iterable[Delta]], Cell]
"""Of some of the deltas: the row with its runs. Raises UserError where they do not go together."""


class Switch(Struct, frozen=True):
    """Deltas that are switched together, and the row with them alone and without them."""

    deltas: tuple[Delta, ...]
    alone: Cell
    without: Cell

    @property
    def at(self) -> str:
        """Their places in the authors' code."""
        return "; ".join(delta.at for delta in self.deltas)

    @property
    def why(self) -> str:
        """What they are."""
        return "; ".join(delta.why for delta in self.deltas)


class Variants(Struct, frozen=True):
    """All ways in which a row is trained to separate its deltas."""

    printed: Cell
    released: Cell
    switches: tuple[Switch, ...]
    stuck: tuple[tuple[Delta, str], ...]
    """Deltas that cannot be switched by themselves, and why; their effect is in the rest."""

    @property
    def cells(self) -> list[Cell]:
        """Every one of them; equal ones are the same runs."""
        return [
            self.printed,
            self.released,
            *(cell for switch in self.switches for cell in (switch.alone, switch.without)),
        ]


class Effect(Struct, frozen=True, kw_only=True):
    """A difference of accuracies, in percentage points, paired by seed."""

    points: float | None = None
    interval: tuple[float, float] | None = None
    """90 % confidence interval; None for fewer than two seeds."""
    n: int = 0


class Explained(Struct, frozen=True, kw_only=True):
    """What one switch explains."""

    at: str
    why: str
    alone: Effect
    """Switched on where none is."""
    without: Effect
    """Switched off where all are: released minus all but this."""
    explains: Effect
    """The mean of both, seed by seed."""


class Attribution(Struct, frozen=True, kw_only=True):
    """The difference of a row as released and as printed, and what explains it."""

    row: str
    reference: float | None
    """The accuracy that the paper prints."""
    printed: float | None
    """The mean accuracy of what the paper prints."""
    released: float | None
    """That of what the authors' code does."""
    total: Effect
    explained: tuple[Explained, ...]
    rest: Effect
    """What the switches do not add up to."""
    stuck: tuple[str, ...]


def variants(suite: Suite, row: str, seeds: Sequence[int]) -> Variants:
    """The runs that separate the deltas of a row.

    Raises:
        UserError: there is no such row.
    """

    def cell(some: Iterable[Delta]) -> Cell:
        deltas = tuple(some)
        chosen = [delta for delta in suite.deltas if _in(delta, deltas)]
        return expand(replace(suite, deltas=tuple(chosen)), rows=row, seeds=seeds)[0]

    # Each delta is tried in both directions: alone on the printed row, and left out of the released one.
    every = list(suite.deltas)
    printed, released = cell([]), cell(every)
    switches = []
    stuck = []
    for group in _groups(every, printed, cell):
        try:
            alone = cell(group)
            without = cell([delta for delta in every if not _in(delta, group)])
        except UserError as error:
            stuck += [(delta, str(error)) for delta in group]
            continue
        # A delta that changes no run, of this row or as others stand over it, explains nothing.
        if alone.ids != printed.ids or without.ids != released.ids:
            switches.append(Switch(tuple(group), alone, without))
    return Variants(printed, released, tuple(switches), tuple(stuck))


def _in(delta: Delta, group: Iterable[Delta]) -> bool:
    return any(delta is other for other in group)


def _renames(group: Iterable[Delta], printed: Cell) -> bool:
    """Whether any of these deltas gives the row another loss."""
    return any(delta.loss and delta.concerns(printed.row) for delta in group)


def _groups(every: Sequence[Delta], printed: Cell, cell: Resolve) -> list[list[Delta]]:
    """The deltas one by one; parameters that only a renamed loss takes go with what renames it."""
    # A delta `params = { multiplier = 50 }` fits no row alone: its loss has that parameter only once another
    # delta has renamed it. The two are switched together.
    groups: list[list[Delta]] = []
    for delta in every:
        renames = [group for group in groups if _renames(group, printed)]
        if renames and _fails(cell, [delta]):
            renames[0].append(delta)
        else:
            groups.append([delta])
    return groups


def _fails(cell: Resolve, deltas: Sequence[Delta]) -> bool:
    try:
        cell(deltas)
    except UserError:
        return True
    return False


def attribute(found: Variants, results: Mapping[str, Result]) -> Attribution:
    """What each switch explains, as far as results are there.

    Seed by seed, a switch explains the mean of its two effects: turned on alone, from the printed row, and
    turned off last, from the released one. The rest is what all of them together leave of the difference.
    Example: printed 70.0, released 73.0; a learning rate gives +2.0 alone and +1.0 on top: it explains 1.5.
    """
    report_epoch = found.released.row.report_epoch

    def values(cell: Cell) -> Values:
        return values_of(cell, results, report_epoch)

    printed, released = values(found.printed), values(found.released)
    explained: list[Explained] = []
    effects: list[Paired] = []
    for switch in found.switches:
        alone = paired(values(switch.alone), printed)
        without = paired(released, values(switch.without))
        effects.append(_mean_effect(alone, without))
        explained.append(
            Explained(
                at=switch.at,
                why=switch.why,
                alone=_effect(alone),
                without=_effect(without),
                explains=_effect(effects[-1]),
            )
        )
    total = paired(released, printed)
    return Attribution(
        row=found.released.row.name,
        reference=found.released.row.reference.top1,
        printed=_mean(printed),
        released=_mean(released),
        total=_effect(total),
        explained=tuple(explained),
        rest=_effect(_rest(total, effects)),
        stuck=tuple(f"{delta.at}: {why}" for delta, why in found.stuck),
    )


def _mean_effect(alone: Paired, without: Paired) -> Paired:
    """The mean of two effects, seed by seed as far as both are known."""
    both = [seed for seed in alone.by_seed if seed in without.by_seed]
    return Paired({seed: (alone.by_seed[seed] + without.by_seed[seed]) / 2 for seed in both})


def _rest(total: Paired, effects: Sequence[Paired]) -> Paired:
    """What effects leave of the whole, of the seeds of which every one is known."""
    rest = {}
    for seed, whole in sorted(total.by_seed.items()):
        if all(seed in effect.by_seed for effect in effects):
            rest[seed] = whole - sum(effect.by_seed[seed] for effect in effects)
    return Paired(rest)


def _mean(values: Values) -> float | None:
    return mean(list(values.values())) if values else None


def _effect(found: Paired) -> Effect:
    return Effect(points=found.difference, interval=found.interval, n=found.n)


def lines(found: Attribution) -> Iterator[list[str]]:
    """A table: each switch with its effect alone, the other way round, and what it explains."""
    for each in found.explained:
        yield [each.at, *(_shown(effect) for effect in (each.alone, each.without, each.explains))]
    yield ["the rest: they do not just add up", "", "", _shown(found.rest)]
    yield ["released - printed", "", "", _shown(found.total)]


def _shown(effect: Effect) -> str:
    if effect.points is None:
        return "-"
    return f"{effect.points:+.2f}{plus_minus(effect.interval)} ({effect.n})"


def attribution(
    address: str, seeds: Sequence[int] | None, *, train: bool, workers: int | None, offline: bool
) -> tuple[Attribution, int]:
    """What the deltas of a row explain, and how many runs are missing for the whole answer.

    Args:
        address: SUITE/ROW.
        seeds: None: the row's.
        train: what is missing, first.
        workers: runs at a time; None: as many as this machine has room for.
        offline: never touch the network.

    Raises:
        UserError: no such row, no delta concerns it, or a stored result is wrong.
    """
    suite, cell = find_trained_row(address, "released")
    found = variants(suite, cell.row.name, seeds or range(cell.row.seeds))
    if not found.switches:
        raise UserError(f"{address}: no delta changes its runs; as printed and as released are the same")
    machine = preflight.this_machine(offline=offline)
    work = workload_of([(suite, tuple(found.cells))], found.cells, machine)
    if train:
        local.train_missing(work, machine, local.RunOptions(workers))
        work = workload_of([(suite, tuple(found.cells))], found.cells, machine)
    ids = [of for each in found.cells for of in each.ids]
    return attribute(found, load_results(index(machine.results), ids)), len(work.runs)


def describe_attribution(found: Attribution, missing: int) -> Iterator[str]:
    """What each delta explains, in percentage points with the 90 % interval and the number of seeds."""
    reference, printed, released = (
        "-" if value is None else f"{value:.2f}" for value in (found.reference, found.printed, found.released)
    )
    yield f"{found.row}: the paper prints {reference}; trained as printed {printed}, as released {released}"
    yield columns(list(lines(found)), ["delta", "on, where none is", "off, where all are", "explains"])
    yield from (f"cannot be switched by itself: {delta}" for delta in found.stuck)
    if missing:
        yield f"{plural(missing, 'run')} missing for the whole answer; --run trains what is"
