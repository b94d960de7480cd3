"""How fast a run's data path, step and evaluation are on this machine: by kdbench's own loop, for seconds.

The data are the run's. Weights are as initialised, the teacher's too: a speed does not depend on them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from msgspec.structs import replace

from kdbench.cost import counts as costs
from kdbench.cost.counts import FLOAT, Work
from kdbench.cost.speeds import Attainable, Measured, Record, Speed, kind
from kdbench.data.views import Batch, Epochs
from kdbench.device import device_at_hand
from kdbench.machine import Machine
from kdbench.plan.plugin_runs import naming_packages
from kdbench.spec.events import Task
from kdbench.spec.runs import Run
from kdbench.training.attainable import attainable, seconds
from kdbench.training.checkpoint import save_weights, weights_content
from kdbench.training.context import TrainingContext, open_context
from kdbench.training.evaluation import evaluate
from kdbench.training.images import training_views
from kdbench.training.operators import Operators
from kdbench.training.student_run import StudentRun
from kdbench.training.teacher_batches import TeacherBatches

BATCHES = {"cpu": 1, "cuda": 20}
"""Steps between two readings of the clock: launches run ahead of a GPU. Their views are made before."""
ROUNDS = 3
"""At least so many measurements of each part."""
TESTED = 500
"""Images of an evaluation."""


class Prepared(Epochs):
    """Batches that are there already: training without its data path."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.labels = torch.cat([y for _, y, _ in batches])

    def __len__(self) -> int:
        """As many as were made."""
        return len(self.batches)

    def epoch(self, _: int) -> Iterator[Batch]:
        """The same batches in every epoch."""
        yield from self.batches


@contextmanager
def bench_context(machine: Machine) -> Iterator[TrainingContext]:
    """A hold on the machine that leaves nothing behind: its folders are temporary, no logits are kept.

    Stored results are out of sight, since the teachers here are not those that they record; imported teachers
    are those of the machine.

    Raises:
        UserError: the device of benchmark.toml is not there.
    """
    with TemporaryDirectory(prefix="kdbench-") as temporary:
        folders = replace(machine.folders, scratch=f"{temporary}/scratch", results=f"{temporary}/results")
        local = replace(machine.local, logits_gib=0.0)
        imported = Path(temporary, "scratch", "imported")
        imported.parent.mkdir()
        imported.symlink_to((machine.scratch / "imported").resolve())
        yield open_context(replace(machine, folders=folders, local=local))


def give_untrained_teacher(run: Run, context: TrainingContext) -> None:
    """Give a run a teacher: a network as initialised, in place of the trained one."""
    if run.teacher is not None:
        folder = context.machine.scratch / "weights" / run.teacher.run.id
        save_weights(folder, run.teacher.epoch, weights_content(context.network(run.teacher.run)))


def measure(run: Run, context: TrainingContext, at_best: Attainable, least_seconds: float = 2.0) -> Speed:
    """Images per second of a run's parts.

    Args:
        run: what would be trained.
        context: a hold on the machine, as of `bench_context`.
        at_best: what the device attains.
        least_seconds: for which each part is repeated.

    Raises:
        UserError: the run's data cannot be had.
    """
    give_untrained_teacher(run, context)
    data = context.data.of(run)
    views = training_views(run, data, context)
    parts = Parts(run, context, list(islice(views.epoch(1), BATCHES[context.device.type])))
    batch_size = run.recipe.batch_size
    train_size = run.recipe.images(len(data.train_labels))
    test_size = min(TESTED, run.recipe.test_size or len(data.test_labels))
    tested = replace(run, recipe=replace(run.recipe, test_size=test_size))
    # What each part has to do at least, where it could be counted: to make a view is to read the image's
    # bytes and to write as many floats.
    view = Work(0, (1 + FLOAT) * data.train_images[0].numel())
    student, teacher = costs.learning(run), costs.teaching(run)
    step = student and teacher and student.plus(teacher)
    counts = costs.counts(run, run.student)
    evaluation = costs.evaluating(counts) if counts else None

    def measured(act: Callable[[], object], images: int, work: Work | None, per: int = 1) -> Measured:
        """The images of an act a second, and the share of what is attainable; `work` is of `per` images."""
        rate = images / repeated(context.device, act, least_seconds)
        share = None if work is None else round(rate * at_best.seconds(work) / per, 4)
        return Measured(round(rate, 1), share)

    def evaluate_once() -> object:
        return evaluate(tested, parts.student_run.student, data, context)

    counted = parts.count()
    return Speed(
        data=measured(lambda: _drain(views.epoch(1)), train_size, view),
        step=measured(parts.step, parts.images, step, batch_size),
        evaluation=measured(evaluate_once, test_size, evaluation),
        teacher=measured(parts.teach, parts.images, teacher, batch_size) if run.taught else None,
        operators=counted.operators.total(),
        synchronisations=counted.synchronising.total(),
    )


class Parts:
    """A run's training on a few batches that are there already, by kdbench's own cohort of one."""

    def __init__(self, run: Run, context: TrainingContext, batches: list[Batch]) -> None:
        self.images = sum(len(y) for _, y, _ in batches)
        self.student_run = StudentRun(Task(run), context)
        self.teacher_batches = TeacherBatches([run], Prepared(batches), context)

    def step(self) -> None:
        """A step on each batch, teacher and all."""
        self.student_run.begin(1)
        for number, batch in enumerate(self.teacher_batches.epoch(1)):
            self.student_run.step(number, len(self.teacher_batches), batch)

    def count(self) -> Operators:
        """The operators of one step, teacher and all, as a GPU does it where they are no graph."""
        run, theirs = self.student_run, self.teacher_batches
        kept = run.recorded, run.graphed, run.rate_on, theirs.graphed
        run.begin(1)
        counted, batches = Operators(), theirs.epoch(1)
        run.recorded = run.graphed = theirs.graphed = None
        run.rate_on = partial(torch.full, (), device=run.context.device)
        with counted:
            run.step(0, len(theirs), next(batches))
        run.recorded, run.graphed, run.rate_on, theirs.graphed = kept
        return counted

    def teach(self) -> None:
        """The teacher's forward passes alone."""
        _drain(self.teacher_batches.epoch(1))


def repeated(device: torch.device, work: Callable[[], object], least_seconds: float) -> float:
    """The median of the seconds that work takes; once more warms up."""
    seconds(device, work)
    found: list[float] = []
    started = perf_counter()
    while len(found) < ROUNDS or perf_counter() - started < least_seconds:
        found.append(seconds(device, work))
    return median(found)


def _drain(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def measure_all(machine: Machine, runs: Sequence[Run]) -> Iterator[Record]:
    """What this machine attains, and the speed of each run, as soon as it is measured.

    Raises:
        UserError: the device or the data of a run are not there.
    """
    device = device_at_hand(machine)
    best: dict[str, Attainable] = {}
    with bench_context(machine) as context:
        for run in runs:
            if run.precision not in best:
                best[run.precision] = attainable(context.device, run.precision)
            with naming_packages(run):
                speed = measure(run, context, best[run.precision])
            yield Record(device, str(torch.__version__), dict(best), {kind(run): speed})
