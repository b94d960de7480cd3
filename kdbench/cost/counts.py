"""What training costs in arithmetic, memory and traffic, counted and not measured. Imports no torch.

The counts of every model on every data set it fits are in counts.json, made by `make costs` with
`kdbench.training.counting` and held against it by a test. A multiplication with its addition is two
FLOPs. Traffic is what convolutions and matrix products must read and write: norms, activations and sums
could be fused into them, so it is a lower bound.
"""

from functools import cache
from pathlib import Path
from typing import Self

from msgspec import Struct, json

from kdbench import catalog
from kdbench.spec.runs import Run

TABLE = Path(__file__).with_name("counts.json")
FLOAT = 4
"""Bytes of a float32."""


class Counts(Struct, frozen=True, kw_only=True):
    """Of one network; for an image, unless it says otherwise. Bytes are those of float32."""

    parameters: float
    forward: float
    """FLOPs of the forward pass."""
    backward: float
    """FLOPs of the backward pass; the images need no gradient."""
    forward_bytes: float
    backward_bytes: float
    batch_forward_bytes: float
    """What a batch reads of the weights, however many images it has."""
    batch_backward_bytes: float
    """What a batch reads of the weights and writes of their gradients."""
    kept: float
    """Bytes of activations that the forward pass keeps for the backward one."""

    def plus(self, other: Self, times: float = 1) -> "Counts":
        """Field by field: self + times · other."""
        of = self.__struct_fields__
        return Counts(**{name: getattr(self, name) + times * getattr(other, name) for name in of})


class Entry(Struct, frozen=True):
    """Counts are affine in the number of classes: body + classes · per_class."""

    body: Counts
    per_class: Counts


class Work(Struct, frozen=True):
    """FLOPs, and bytes read and written by convolutions and matrix products."""

    flops: float
    bytes: float

    def plus(self, other: Self, times: float = 1) -> "Work":
        """self + times · other."""
        return Work(self.flops + times * other.flops, self.bytes + times * other.bytes)


class Cost(Struct, frozen=True, kw_only=True):
    """What a run costs."""

    work: Work
    """All of its steps, its teacher's forward passes among them, and its evaluations."""
    teaching: Work
    """The teacher's forward passes: what company and kept logits save."""
    memory: float
    """Bytes of a step: weights, gradients, optimizer, the teacher's weights, kept activations, a memory bank;
    without what else is trained beside the student."""
    disk: float
    """Bytes of the weights after one epoch."""


def key(model: str, channels: int, size: int) -> str:
    """An entry's name in the table."""
    return f"{model} {channels}x{size}x{size}"


@cache
def table() -> dict[str, Entry]:
    """All counts."""
    return json.decode(TABLE.read_bytes(), type=dict[str, Entry])


def counts(run: Run, model: str) -> Counts | None:
    """The counts of a model on a run's images; None where nobody has counted it (a plug-in's model)."""
    data = catalog.find("datasets", run.dataset)
    found = table().get(key(model, data.channels, run.recipe.size or data.size))
    if found is None:
        return None
    return found.body.plus(found.per_class, run.outputs)


def teacher_counts(run: Run, model: str) -> Counts | None:
    """The counts of a run's teacher on what it sees: the student's images, or those of its own data set."""
    own = run.teacher is not None and run.teacher.run.dataset != run.dataset
    return counts(run.teacher.run if own and run.teacher else run, model)


def images(run: Run) -> tuple[int, int]:
    """How many images a run trains on and evaluates, each counted every time."""
    data, recipe = catalog.find("datasets", run.dataset), run.recipe
    evaluated = (recipe.test_size or data.test) + recipe.held_out(data.train)
    return recipe.epochs * recipe.seen(data.train), recipe.epochs * evaluated


def cost(run: Run) -> Cost | None:
    """What a run costs when it is trained alone; None where one of its networks was not counted."""
    # a batch's counts times the number of batches; a short last batch counts by its images
    student, taught = counts(run, run.student), teaching(run)
    step = learning(run)
    if student is None or taught is None or step is None:
        return None
    trained, tested = images(run)
    batches = trained / run.recipe.batch_size
    teacher = teacher_counts(run, run.teacher_model) if run.taught else None
    return Cost(
        work=Work(0, 0).plus(step, batches).plus(taught, batches).plus(evaluating(student), tested),
        teaching=Work(0, 0).plus(taught, batches),
        memory=_memory(run, student) + FLOAT * (teacher.parameters if teacher else 0),
        disk=FLOAT * student.parameters,
    )


def learning(run: Run) -> Work | None:
    """A student's own part of a step; None where it was not counted."""
    of, batch = counts(run, run.student), run.recipe.batch_size
    if of is None:
        return None
    return Work(
        batch * (of.forward + of.backward),
        batch * (of.forward_bytes + of.backward_bytes) + of.batch_forward_bytes + of.batch_backward_bytes,
    )


def teaching(run: Run) -> Work | None:
    """The teacher's part of a step, nothing without one; None where it was not counted."""
    if not run.taught:
        return Work(0, 0)
    of, batch = teacher_counts(run, run.teacher_model), run.recipe.batch_size
    if of is None:
        return None
    return Work(batch * of.forward, batch * of.forward_bytes + of.batch_forward_bytes)


def evaluating(of: Counts) -> Work:
    """One image of an evaluation; its batches are so large that reading the weights does not count."""
    return Work(of.forward, of.forward_bytes)


def _memory(run: Run, of: Counts) -> float:
    own = FLOAT * (2 + run.recipe.moments) * of.parameters + run.recipe.batch_size * of.kept
    return own + memory_bank(run)


def memory_bank(run: Run) -> float:
    """Bytes of what a distiller keeps of each training image, by both networks: 2 N dim floats; else 0."""
    entry = catalog.find("losses", run.loss.name)
    if not isinstance(entry, catalog.DistillerEntry) or not entry.memory:
        return 0.0
    images = run.recipe.images(catalog.find("datasets", run.dataset).train)
    return 2 * FLOAT * images * run.loss.params.get("dim", 0.0)
