"""How long a run will take, from results of its like; it decides which runs share a job, and no number."""

from collections.abc import Callable

from kdbench import catalog
from kdbench.errors import UserError
from kdbench.spec import Run
from kdbench.store import Index, load_result


def estimator(there: Index, images_per_second: float) -> Callable[[Run], float]:
    """A function of a run: its seconds.

    Args:
        there: the results that may have its like: the same student, loss and teacher, whatever the seed.
        images_per_second: what is assumed where there is none.
    """
    like: dict[str, str] = {}
    for name, path in there.results.items():
        like.setdefault(path.name.rpartition(".s")[0], name)
    speeds: dict[str, float] = {}

    def seconds(run: Run) -> float:
        if run.slug not in speeds:
            speeds[run.slug] = _measured(there, like.get(run.slug)) or images_per_second
        return images(run) / speeds[run.slug]

    return seconds


def images(run: Run) -> int:
    """How many images a run is trained on, counted each time."""
    size = run.recipe.train_size or catalog.find("datasets", run.dataset).train
    return run.recipe.epochs * size


def _measured(there: Index, name: str | None) -> float | None:
    """Images per second of evaluation too, of a stored result; one that is broken measures nothing."""
    if name is None:
        return None
    try:
        result = load_result(there.results[name])
    except UserError:
        return None
    return images(result.run) / max(result.seconds, 1e-3)
