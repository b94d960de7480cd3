"""What a distiller is: a loss that reads inner maps, has parameters or a memory, or knows the epoch.

It is built once for a run, of the shapes that student and teacher give, and then called for each batch. Its
parameters are trained by the run's optimizer, with the student's; they and its buffers are part of the
checkpoint. It keeps nothing else from step to step, and draws random numbers of `Step.generator` alone: so a
run that goes on from a checkpoint, or beside others, is the same to the last bit.

Symbols are those of losses.py; β weighs what a method adds to the cross-entropy H(q, p).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdbench.data.random import torch_seed
from kdbench.models.output import Output
from kdbench.training.losses import ce


class Setting(NamedTuple):
    """What a distiller is built of."""

    student: Output
    """Of one image, on the meta device: shapes alone, `maps` among them."""
    teacher: Output
    """The same of the teacher."""
    labels: Tensor
    """The class of each training image, int64 (N,), in the order of the data set, on the CPU."""
    classes: int
    """K."""


class Step(NamedTuple):
    """Where a step stands, and which images it sees."""

    indices: Tensor
    """Of the images among the training images, int64 (B,)."""
    epoch: int
    """Counted from 1."""
    number: int
    """Of the step in its epoch, counted from 0."""
    seed: int
    """The run's."""
    part: int = 0
    """Of the ghost batches, which one this is, counted from 0."""

    def generator(self) -> torch.Generator:
        """A generator on the CPU whose numbers are a function of (seed, epoch, step, part)."""
        name = f"distiller {self.number}" + (f" {self.part}" if self.part else "")
        return torch.Generator().manual_seed(torch_seed(self.seed, name, self.epoch))


class Distiller(nn.Module):
    """A run's objective. A subclass takes (setting, **parameters), these as the catalog names them."""

    steady: int | None = None
    """The epoch from which on it is one and the same function of outputs; before, it is one in each epoch.
    None: it looks at more than outputs and the epoch, or draws."""

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            s: what the student makes of the images, (B, ...).
            y: their classes, int64 (B,).
            t: what the teacher makes of them, a constant.
            at: which images these are, and where the step stands.
        """
        raise NotImplementedError


class Remembering(Distiller):
    """Has a row for each training image in its buffer `memory`, (..., N, D).

    What a step makes of its images is noted, and written when the gradient is there: the backward pass reads
    the rows of before. A batch in parts is written after the last one, with what other ranks have noted.
    """

    memory: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Tensor, Tensor]] = []

    def note(self, indices: Tensor, rows: Tensor) -> None:
        """The new rows (..., B, D) of images, int64 (B,)."""
        self.noted.append((indices, rows))

    def write(self) -> None:
        """Put the rows that were noted into the memory."""
        for indices, rows in self.noted:
            self.memory.index_copy_(self.memory.ndim - 2, indices, rows)
        self.noted.clear()


class Weighted(Distiller):
    """H(q, p) + β L: a subclass says what L is; one without parameters of its own has no constructor."""

    steady = 1

    def __init__(self, _: Setting, *, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, s: Output, y: Tensor, t: Output, _: Step) -> Tensor:
        """The cross-entropy and the weighted term."""
        return ce(s, y) + self.beta * self.term(s, t)

    def term(self, s: Output, t: Output) -> Tensor:
        """L, a scalar, of the outputs of student and teacher."""
        raise NotImplementedError
