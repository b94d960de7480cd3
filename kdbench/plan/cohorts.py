"""Runs -> cohorts: which runs one process trains beside each other. Pure; no number depends on it.

Its runs see the same batches and the same teacher, so a view is made and the teacher computed once for all
of them. Each run's result is the one that it has alone.
"""

from collections.abc import Hashable, Iterable

from kdbench.spec.runs import Run


def make_cohorts(runs: Iterable[Run], workers: int = 1) -> list[tuple[Run, ...]]:
    """Put runs together that may be trained together, in the order of their first runs.

    Args:
        runs: those whose teachers are there.
        workers: cohorts are halved, the largest first, until there is one for each of so many workers.
    """
    found: dict[Hashable, list[Run]] = {}
    for run in runs:
        found.setdefault(batch_stream_key(run), []).append(run)
    cohorts = [tuple(some) for some in found.values()]
    while cohorts and len(cohorts) < workers:
        largest = max(cohorts, key=len)
        if len(largest) == 1:
            break
        place, half = cohorts.index(largest), (len(largest) + 1) // 2
        cohorts[place : place + 1] = [largest[:half], largest[half:]]
    return cohorts


def batch_stream_key(run: Run) -> Hashable:
    """What decides, batch by batch, images and teacher outputs; equal for all runs of a cohort."""
    recipe, teacher = run.recipe, run.teacher
    length = (run.seed, recipe.batch_size, recipe.ghost_batches, recipe.epochs)
    taught = run.imported or (teacher and (teacher.run.id, teacher.epoch))
    return run.dataset, run.data, run.precision, recipe.views, length, taught
