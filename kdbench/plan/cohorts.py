"""Runs -> cohorts: which runs one process trains beside each other. Pure; no number depends on it.

Its runs see the same batches and the same teacher, so a view is made and the teacher computed once for all
of them; or their networks are so small that the steps of several seeds are done as one
(kdbench/training/stacked.py). Each run's result is the one that it has alone.
"""

from collections.abc import Hashable, Iterable

from kdbench import catalog
from kdbench.grouping import grouped, halves
from kdbench.spec.runs import Run

MOST = 200
"""Runs of a cohort of several seeds: all of its results come at its end."""


def make_cohorts(runs: Iterable[Run], workers: int = 1) -> list[tuple[Run, ...]]:
    """Put runs together that may be trained together, in the order of their first runs.

    Args:
        runs: those whose teachers are there.
        workers: cohorts are halved, the largest first, until there is one for each of so many workers.
    """
    cohorts = _with_other_seeds(batch_streams(runs))
    while cohorts and len(cohorts) < workers:
        largest = max(cohorts, key=len)
        if len(largest) == 1:
            break
        # Halves lose least: each of them makes its views and asks its teacher once more.
        place = cohorts.index(largest)
        cohorts[place : place + 1] = halves(largest)
    return cohorts


def batch_streams(runs: Iterable[Run]) -> list[tuple[Run, ...]]:
    """Runs that see the same batches and the same teacher, in the order of their first runs."""
    streams = grouped((batch_stream_key(run), run) for run in runs)
    return [tuple(some) for some in streams.values()]


def batch_stream_key(run: Run) -> Hashable:
    """What decides, batch by batch, images and teacher outputs; equal for all runs of a stream."""
    recipe, teacher = run.recipe, run.teacher
    length = (run.seed, recipe.batch_size, recipe.ghost_batches, recipe.epochs)
    taught = run.imported or (teacher and (teacher.run.id, teacher.epoch))
    return run.dataset, run.data, run.precision, recipe.views, length, taught


def cohort_key(run: Run) -> Hashable:
    """Equal for runs that may be of one cohort: they see the same, or are tiny and would with one seed."""
    return batch_stream_key(run.seedless if is_tiny(run) else run), is_tiny(run)


def is_tiny(run: Run) -> bool:
    """Whether its steps are done together with those of other seeds."""
    return catalog.find("models", run.student).tiny


def _with_other_seeds(streams: Iterable[tuple[Run, ...]]) -> list[tuple[Run, ...]]:
    """Streams of tiny networks that differ in their seeds alone are put together, up to `MOST` runs.

    Of seeds 0 1 2 of logistic regression: one cohort of three; of the same of ResNet18: three of one.
    """
    cohorts: list[list[Run]] = []
    filling: dict[tuple[str, ...], list[Run]] = {}
    for stream in streams:
        if not all(map(is_tiny, stream)):
            cohorts.append(list(stream))
            continue
        key = tuple([run.seedless.id for run in stream])
        some = filling.get(key, [])
        if not some or len(some) + len(stream) > MOST:
            some = filling[key] = []
            cohorts.append(some)
        some.extend(stream)
    return list(map(tuple, cohorts))
