"""A step on a batch in parts, each with its own batch-norm statistics, as the ranks of a group do it.

The parts are those of the recipe, whichever rank does them, one after the other or beside each other:

    gradient     the mean over the whole batch: a part counts by its images
    statistics   each part normalises by its own, and starts from the running ones before the step; the
                 running ones after it are the mean of what the parts make of them, weighted so too
    dropout      drawn anew for each part: a function of (seed, epoch, step, part)
    memory       of a distiller: that of before the step for every part; all ranks write what all parts noted
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdbench.data.random import torch_seed
from kdbench.models.output import Output
from kdbench.spec.runs import Run
from kdbench.training.distillers.distiller import Remembering, Step
from kdbench.training.generator import seed_torch
from kdbench.training.group import Group, cut
from kdbench.training.teacher_batches import DistillationBatch

Loss = Callable[[DistillationBatch, Step], Tensor]
"""Of a batch, or a part of one, and of where the step stands: a student's loss."""


def learn(
    run: Run, at: Step, student: nn.Module, loss: Loss, batch: DistillationBatch, group: Group
) -> Tensor:
    """Leave the gradient of a batch in the student's parameters, and its running statistics in its buffers.

    Args:
        run: its recipe says how many parts there are.
        at: where the step stands.
        student: in training, with what is trained beside it.
        loss: the student's.
        batch: what this rank has of the batch.
        group: who does which parts.

    Returns:
        The mean loss over the whole batch.
    """
    memories = [module for module in student.modules() if isinstance(module, Remembering)]
    statistics = Statistics(student, [each.memory for each in memories])
    done: list[int] = []
    total = torch.zeros((), device=batch.y.device)
    # Every part starts from the statistics of before the step and draws by its own number: it gives the same
    # whichever rank does it, after whatever other part. What is summed over parts is then summed over ranks.
    for part in group.parts(run.recipe.ghost_batches, batch.images):
        statistics.restore()
        seed_torch(torch_seed(run.seed, f"dropout {at.number} {part.number}", at.epoch))
        some = cut_batch(batch, part.here)
        value = part.weight * loss(some, at._replace(indices=some.indices, part=part.number))
        value.backward()  # type: ignore[no-untyped-call]
        statistics.add(part.weight)
        total += value.detach()
        done.append(part.number)
    group.all_reduce([total, *statistics.after, *(gradients(student) if group.size > 1 else [])])
    statistics.set()
    cuts = cut(batch.images, run.recipe.ghost_batches)
    for memory in memories:
        write(memory, [cuts[number] for number in done], batch.images, group)
    return total


def write(memory: Remembering, places: Sequence[slice], images: int, group: Group) -> None:
    """Write into each rank's memory what all ranks have noted.

    Args:
        memory: has noted the images of its own parts.
        places: where these lie in the whole batch, part by part.
        images: of the whole batch.
        group: the ranks.
    """
    if group.size > 1:
        # each rank fills in the places of its own parts and leaves 0 elsewhere: the sum has all of them
        indices = torch.zeros(images, dtype=torch.int64, device=memory.memory.device)
        rows = memory.memory.new_zeros(*memory.memory.shape[:-2], images, memory.memory.shape[-1])
        for place, (some, new) in zip(places, memory.noted, strict=True):
            indices[place] = some
            rows[..., place, :] = new
        group.all_reduce([indices, rows])
        memory.noted = [(indices, rows)]
    memory.write()


class Statistics:
    """A network's buffers through a step in parts; numbers that count steps count it once.

    Args:
        network: in training.
        others: buffers that it leaves alone.
    """

    def __init__(self, network: nn.Module, others: Sequence[Tensor] = ()) -> None:
        left = {id(each) for each in others}
        self.buffers = [each for each in network.buffers() if id(each) not in left]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.after = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in self.buffers]

    def restore(self) -> None:
        """As before the step."""
        for buffer, before in zip(self.buffers, self.before, strict=True):
            buffer.copy_(before)

    def add(self, weight: float) -> None:
        """A part of this weight has been done."""
        for buffer, after in zip(self.buffers, self.after, strict=True):
            after.add_(buffer, alpha=weight)

    def set(self) -> None:
        """As after the step."""
        for buffer, after in zip(self.buffers, self.after, strict=True):
            buffer.copy_(after if buffer.is_floating_point() else after.round())


def gradients(student: nn.Module) -> list[Tensor]:
    """One for each parameter; zero where no part of this rank reaches it."""
    for parameter in student.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in student.parameters() if parameter.grad is not None]


def cut_batch(batch: DistillationBatch, part: slice) -> DistillationBatch:
    """Some of a batch's images, with all that belongs to them."""
    return batch._replace(
        x=batch.x[part],
        y=batch.y[part],
        taught=cut_output(batch.taught, part),
        indices=batch.indices[part],
        partners=None if batch.partners is None else batch.partners[part],
    )


def cut_output(output: Output | None, part: slice) -> Output | None:
    """What a network makes of some of its images."""
    if output is None:
        return None
    maps = tuple(each[part] for each in output.maps)
    return output._replace(logits=output.logits[part], features=output.features[part], maps=maps)
