"""Runs -> cohorts: which runs one process trains beside each other. Pure; no number depends on it.

Members see the same batches and hear the same teacher, so a view is made and the teacher asked once for all
of them. Each member's result is the one that it has alone.
"""

from collections.abc import Iterable

from msgspec import json

from kdbench.spec import Recipe, Run, identity

OWN = {"student", "loss"}
"""What members of a cohort may differ in."""
OWN_RECIPE = {
    *("lr", "optimizer", "lr_batch", "warmup_epochs", "milestones", "gamma"),
    *("momentum", "nesterov", "weight_decay", "test_size", "classes"),
}
"""The same of their recipes."""


def make_cohorts(runs: Iterable[Run], slots: int = 1) -> list[tuple[Run, ...]]:
    """Put runs together that may be trained together, in the order of their first members.

    Args:
        runs: those whose teachers are there.
        slots: cohorts are halved, the largest first, until there is one for each of so many slots.
    """
    found: dict[bytes, list[Run]] = {}
    for run in runs:
        found.setdefault(lessons(run), []).append(run)
    cohorts = [tuple(some) for some in found.values()]
    while cohorts and len(cohorts) < slots:
        largest = max(cohorts, key=len)
        if len(largest) == 1:
            break
        place, half = cohorts.index(largest), (len(largest) + 1) // 2
        cohorts[place : place + 1] = [largest[:half], largest[half:]]
    return cohorts


def lessons(run: Run) -> bytes:
    """All that decides what a student sees and hears, batch by batch; members of a cohort agree in it.

    What is a student's own is named above: a new field of a run keeps cohorts apart until it is named too.
    """
    parts = {name: part for name, part in identity(run).items() if name not in OWN}
    return json.encode({**parts, "recipe": views(run.recipe)}, order="sorted")


def views(recipe: Recipe) -> dict[str, object]:
    """What of a recipe its batches depend on, how many of them there are included."""
    return {name: value for name, value in recipe.identity.items() if name not in OWN_RECIPE}
