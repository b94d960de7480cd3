"""What a run will need, from results of its like; it decides which runs share a job, and no number."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.spec import Result, Run
from kdbench.store import Index, load_result

LOOKS = 8
"""Results of a run's like that are read at most."""


class Need(Struct, frozen=True):
    """What a run will need."""

    seconds: float
    memory: float | None = None
    """GiB of the node at the peak of each of its processes; None: nobody has measured it."""


Estimate = Callable[[Run], Need]


def estimator(there: Index, images_per_second: float) -> Estimate:
    """A function of a run: what it will need.

    Args:
        there: the results that may have its like: the same student, loss and teacher, whatever the seed.
            The longest of them tells the speed; the largest of those that were trained on a CPU with the same
            batch size tells the memory. (A result from a GPU has measured the GPU's memory, not the node's.)
        images_per_second: what is assumed where there is none.
    """
    like: dict[tuple[str, str], list[Path]] = {}
    for path in there.results.values():
        like.setdefault((path.parent.name, path.name.rpartition(".s")[0]), []).append(path)
    needs: dict[tuple[str, str, int], tuple[float, float | None]] = {}

    def need(run: Run) -> Need:
        kind = (run.dataset, run.slug, run.recipe.batch_size)
        if kind not in needs:
            results = _readable(like.get(kind[:2], [])[-LOOKS:])
            needs[kind] = _speed(results) or images_per_second, _memory(results, run.recipe.batch_size)
        speed, memory = needs[kind]
        return Need(images(run) / speed, memory)

    return need


def images(run: Run) -> int:
    """How many images a run is trained on, counted each time."""
    size = run.recipe.train_size or catalog.find("datasets", run.dataset).train
    return run.recipe.epochs * size


def _readable(paths: list[Path]) -> list[Result]:
    """The results; one that is broken measures nothing."""
    found = []
    for path in paths:
        try:
            found.append(load_result(path))
        except UserError:
            continue
    return found


def _speed(results: list[Result]) -> float | None:
    """Images per second, evaluation and all, of the longest."""
    longest = max(results, key=lambda result: images(result.run), default=None)
    return images(longest.run) / max(longest.seconds, 1e-3) if longest else None


def _memory(results: list[Result], batch_size: int) -> float | None:
    peaks = [
        result.peak_memory / int(result.environment.get("processes") or 1)
        for result in results
        if result.run.recipe.batch_size == batch_size and result.environment.get("device") == "cpu"
    ]
    return max(peaks) / 2**30 if any(peaks) else None
