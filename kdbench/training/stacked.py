"""Runs of several seeds, whose steps are done as one: their tensors lie in one that has an axis for runs.

A step of logistic regression on 128 points is some 20 operations of a few microseconds, most of which is
the calling. A hundred seeds take the same operations with the same shapes. So the recorded step of one run
(recorded.py) is written once more for all of them, operation by operation (stacked_operations.py).

No run's number may depend on its company: loss, gradients and new weights of the first step of each shape
must be those of every run alone, to the last bit. Where one is not, the runs are trained one after the other.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kdbench.models.output import logits_alone
from kdbench.training.distillers.distiller import Step
from kdbench.training.optim import lr_at, make_optimizer
from kdbench.training.precision import arithmetic
from kdbench.training.recorded import (
    Program,
    RecordedStep,
    Replay,
    UnrecordableError,
    by_autograd,
    record,
)
from kdbench.training.stacked_operations import for_all_runs, same_bits
from kdbench.training.teacher_batches import DistillationBatch, Fixed, TeacherBatches, flat

if TYPE_CHECKING:
    from kdbench.training.student_run import StudentRun

Batches = Sequence[DistillationBatch]
"""One of each stream of a cohort."""


class Stack:
    """Runs that differ in their seed and their teacher, at the same epoch.

    Args:
        runs: two at least, `stackable` and alike (`Run.seedless`). From now on their
            parameters and what their optimizers remember are parts of this stack's tensors.
    """

    def __init__(self, runs: Sequence["StudentRun"]) -> None:
        self.runs = list(runs)
        self.recipe = runs[0].run.recipe
        self.parameters = _gathered([run.parameters for run in runs])
        self.optimizer = make_optimizer(self.recipe, self.parameters)
        self.optimizer.state = _gathered([run.optimizer.state for run in runs])
        self.replays: dict[object, Replay] = {}
        """By the shapes of a batch."""
        for run in runs:  # what was recorded has the parameters where they were
            run.recorded = RecordedStep(run.parameters)

    def step(self, number: int, steps: int, batches: Batches, places: Sequence[int]) -> None:
        """Learn from a batch each: the number-th, counted from 0, of so many.

        Args:
            number: of the step in its epoch.
            steps: of the epoch.
            batches: one of each stream of the cohort.
            places: whose batch each run learns from.

        Raises:
            UnrecordableError: some run alone would get other numbers. Nothing has changed.
        """
        started = perf_counter()
        stacked = _stacked(batches, places)
        shapes = tuple([each.shape for each in stacked])
        lr = lr_at(self.recipe, self.runs[0].epoch, number, steps)
        with arithmetic(self.runs[0].run.precision, self.runs[0].context.device):
            if shapes not in self.replays:
                self.replays[shapes] = self._replay(number, [batches[place] for place in places], stacked, lr)
            # of S runs: their losses (S,), and of each parameter a gradient (S, ...)
            values, *gradients = self.replays[shapes](*stacked)
        self.optimizer.step(lr, gradients)
        # all runs have taken the same operations, so each has had an equal part of the time
        seconds = (perf_counter() - started) / len(self.runs)
        for run, value in zip(self.runs, values.unbind(), strict=True):
            run.losses.append(value)
            run.sizes.append(len(stacked[1][0]))
            run.seconds += seconds

    def dissolved(self) -> list["StudentRun"]:
        """Its runs, whose steps are done one after the other from now on."""
        for run in self.runs:
            run.never_stacked = True
        return self.runs

    def _replay(
        self,
        number: int,
        batches: Batches,
        stacked: Sequence[Tensor],
        lr: float,
    ) -> Replay:
        """The step for all runs, found to give what each run's own step gives on these batches."""
        # Both ways step on copies of weights and optimizer: whatever comes out, nothing has changed yet, so
        # that `step` does this batch itself, or the caller lets each run do it alone.
        program = self._recorded(number, batches[0])
        replay = for_all_runs(program, self.parameters, self.runs[0].parameters, stacked)
        values, *gradients = replay(*stacked)
        together = _Optimized(self.recipe, self.parameters, self.optimizer.state)
        together.optimizer.step(lr, gradients)
        for place, (run, batch) in enumerate(zip(self.runs, batches, strict=True)):
            loss = partial(run.loss, batch, self._at(run, number, batch))
            value, slopes = by_autograd(loss, run.parameters)
            alone = _Optimized(self.recipe, run.parameters, run.optimizer.state)
            alone.optimizer.step(lr, slopes)
            expected = [value, *slopes, *alone.tensors]
            found = [_of(each, place) for each in (values, *gradients, *together.tensors)]
            if not all(map(same_bits, expected, found)):
                raise UnrecordableError(f"{run.run.slug} seed {run.run.seed}: other bits than alone")
        return replay

    def _recorded(self, number: int, batch: DistillationBatch) -> Program:
        """The first run's step."""
        run, inputs = self.runs[0], [batch.x, batch.y, *flat(batch.taught)]
        program = record(inputs, partial(run.loss, batch, self._at(run, number, batch)), run.parameters)[2]
        if program is None or program.draws:
            raise UnrecordableError(f"{run.run.slug}: its step draws, or is not the same for every batch")
        return program

    def _at(self, run: "StudentRun", number: int, batch: DistillationBatch) -> Step:
        return Step(batch.indices, run.epoch, number, run.run.seed)


def make_stacks(runs: Sequence["StudentRun"], before: Sequence[Stack] = ()) -> list[Stack]:
    """The stacks of runs of one cohort at an epoch, as far as several are alike and may be stacked.

    Args:
        runs: all that are about to do the epoch.
        before: the stacks of the last one, of which those serve again whose runs are all there.
    """
    alike: dict[tuple[str, int], list[StudentRun]] = {}
    for each in runs:
        if stackable(each):
            alike.setdefault((each.run.seedless.id, each.progress.epoch), []).append(each)
    # a stack of the same runs has its replays already, each found and tested in a first step
    known = {tuple(stack.runs): stack for stack in before}
    return [known.get(tuple(some)) or Stack(some) for some in alike.values() if len(some) > 1]


def stackable(run: "StudentRun") -> bool:
    """Whether a run's step is recorded, and is nothing but gradients and an optimizer's formula."""
    recipe = run.run.recipe
    more = recipe.max_norm or recipe.ema
    by_element = recipe.optimizer in ("sgd", "rmsprop")  # Adam counts its steps, one number for all tensors
    return run.recorded is not None and by_element and not more and not run.never_stacked


class StackedBatch(Sequence[DistillationBatch]):
    """A batch of each of several streams, in tensors with an axis for streams before the others.

    Args:
        x: images (S, B, C, H, W).
        y: classes (S, B).
        logits: the teachers', (S, B, K), should there be any.
        indices: (S, B).
    """

    def __init__(self, x: Tensor, y: Tensor, logits: Tensor | None, indices: Tensor) -> None:
        self.x, self.y, self.logits, self.indices = x, y, logits, indices

    def __len__(self) -> int:
        """S."""
        return len(self.y)

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401 - one stream's batch
        """One stream's batch."""
        x, y, indices = self.x[place], self.y[place], self.indices[place]
        taught = None if self.logits is None else logits_alone(self.logits[place])
        return DistillationBatch(x, y, taught, indices, len(y))


def side_by_side(streams: Sequence[TeacherBatches], epoch: int) -> Iterator[Batches]:
    """The batches of an epoch of several streams: the first one of each, the second one of each, ...

    Where no image of theirs changes from epoch to epoch, nor what its teacher makes of it, a batch is
    gathered for all of them at once.

    Args:
        streams: of as many batches each.
        epoch: counted from 1.
    """
    joined = _joined([stream.fixed() for stream in streams])
    if joined is None:
        yield from zip(*[stream.epoch(epoch) for stream in streams], strict=True)
        return
    # The N images of stream s lie behind those of the streams before it: its image i is row s N + i.
    first = streams[0]
    offsets = first.images * torch.arange(len(streams))[:, None]
    for number in range(first.passes):
        orders = torch.stack([stream.order(epoch, number) for stream in streams])
        for indices in torch.split(orders, first.batch_size, dim=1):
            here = (indices + offsets).flatten()  # of (S, B): one gather is faster than S
            x, y, *logits = [
                each.index_select(0, here).view(*indices.shape, *each.shape[1:]) for each in joined
            ]
            yield StackedBatch(x, y, logits[0] if logits else None, indices)


def _joined(streams: Sequence[Fixed | None]) -> list[Tensor] | None:
    """Images, classes and logits, should there be any, of all streams: S streams of N as (S N, ...).

    None for one alone, and where they change or differ in their shapes.
    """
    known = [each for each in streams if each is not None]
    if len(streams) == 1 or len(known) < len(streams):
        return None
    joined = []
    for parts in zip(*known, strict=True):
        there = [part for part in parts if part is not None]
        if len({part.shape for part in there}) > 1 or len(there) not in (0, len(parts)):
            return None
        if there:
            joined.append(torch.cat(there))
    return joined


def _stacked(batches: Batches, places: Sequence[int]) -> list[Tensor]:
    """What the losses of some streams depend on, with an axis for streams before the others."""
    if isinstance(batches, StackedBatch):
        parts = [batches.x, batches.y]
        if batches.logits is not None:  # as `flat`: the logits, and no features
            parts += [batches.logits, batches.logits.new_empty(len(batches), 0)]
        if list(places) == list(range(len(batches))):
            return parts
        chosen = torch.tensor(places)
        return [each.index_select(0, chosen) for each in parts]
    inputs = [[batches[place].x, batches[place].y, *flat(batches[place].taught)] for place in places]
    return [torch.stack(each) for each in zip(*inputs, strict=True)]


class _Optimized:
    """Copies of parameters and of what is remembered of them, under an optimizer of their own."""

    def __init__(self, recipe: Any, parameters: Sequence[Tensor], state: Sequence[Tensor]) -> None:  # noqa: ANN401
        copies = [each.detach().clone() for each in parameters]
        self.optimizer = make_optimizer(recipe, copies)
        self.optimizer.state = [each.clone() for each in state]
        self.tensors = [*copies, *self.optimizer.state]


def _gathered(of_runs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Tensors of each run, put into one for all runs, of which each run's is a part from now on.

    Example: of two runs with a weight (K, D) and a bias (K,) each, one tensor (2, K, D) and one (2, K). The
    runs keep their tensors and only what these point to changes: evaluation, checkpoints and a step alone
    see what the stack does, and the other way round, without a copy.
    """
    found = []
    for each in zip(*of_runs, strict=True):
        whole = torch.stack([tensor.detach() for tensor in each])
        for tensor, part in zip(each, whole.unbind(), strict=True):
            tensor.data = part
        found.append(whole)
    return found


def _of(each: Tensor | None, place: int) -> Tensor | None:
    """One run's part."""
    return None if each is None else each[place]
