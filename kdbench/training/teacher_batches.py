"""What students get of each batch: its images, its classes, its teacher's output."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import repeat
from typing import NamedTuple, cast

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from kdbench import catalog
from kdbench.data.mixing import Mix, Mixing
from kdbench.data.views import Epochs, Values, whole
from kdbench.models.folding import fold
from kdbench.models.output import Network, Output, logits_alone
from kdbench.spec.runs import Recipe, Run
from kdbench.training.context import TrainingContext
from kdbench.training.graphs import Graphed, uses_graphs
from kdbench.training.images import training_views
from kdbench.training.logits import open_logits
from kdbench.training.objective import reads_maps
from kdbench.training.precision import arithmetic, forward_of

QUICK = 100_000
"""Weights up to which a teacher without convolutions is faster than reading its logits."""


class DistillationBatch(NamedTuple):
    """A batch, or what this rank has of it."""

    x: Tensor
    """Images (B, C, H, W)."""
    y: Tensor
    """Classes (B,)."""
    taught: Output | None
    """What the teacher makes of the images, should there be one."""
    indices: Tensor
    """Of the images among the training images, int64 (B,)."""
    images: int
    """Of the whole batch."""
    partners: Tensor | None = None
    """Where the batch is mixed: the class of what each image is mixed with, (B,)."""
    share: float = 1.0
    """λ: what an image keeps of itself."""


class Fixed(NamedTuple):
    """The images of a run that sees them as they are, in the order of the data set."""

    x: Tensor
    """(N, C, H, W)."""
    y: Tensor
    """(N,)."""
    logits: Tensor | None
    """The teacher's, (N, K), should there be one."""


def flat(output: Output | None) -> list[Tensor]:
    """The tensors of an output."""
    if output is None:
        return []
    parts = (output.logits, output.features, output.weight, output.bias, *output.maps)
    return [each for each in parts if each is not None]


class TeacherBatches:
    """The batches of runs, each with the teacher's output: made once for all that see them.

    Args:
        runs: those that see them (`kdbench.plan.cohorts.batch_streams`).
        views: the images as they see them.
        context: this process's hold on its machine.

    Raises:
        UserError: the teacher's weights are missing or damaged.
    """

    def __init__(self, runs: Sequence[Run], views: Epochs, context: TrainingContext) -> None:
        first = runs[0]  # what follows is the same for all of them
        recipe, teacher = first.recipe, context.teacher(first)
        self.views, self.precision, self.group = views, first.precision, context.group
        self.images, self.batch_size = len(views.labels), recipe.batch_size
        self.passes, self.ghost_batches = recipe.passes or 1, recipe.ghost_batches
        self.mixing = Mixing(first.seed, recipe.mixup, recipe.cutmix) if recipe.mixes else None
        self.privileged = _privileged(first, context)
        if any(reads_maps(run.loss) for run in runs):
            cast("Network", teacher).gives_maps = True
        self.teacher = teacher and forward_of(
            fold(teacher).to(memory_format=torch.channels_last), self.precision
        )
        self.graphed = None
        if self.teacher is not None and uses_graphs(context) and not self.precision.endswith("-compiled"):
            what = f"{first.slug}: its teacher's forward pass"
            self.graphed = Graphed(self.teacher, (), what, copy=True)
        # Three ways to the teacher's output: computed for each batch, read from disk (`logits`), or, where
        # an image never changes, computed once for all images and kept in memory (`answers`). The last two
        # keep nothing but logits, so every loss of the cohort must read nothing else.
        self.answers = None
        self.logits = None
        logits_only = all(catalog.find("losses", run.loss.name).logits_only for run in runs)
        alone = self.group.size == 1  # of several ranks, none has all of the outputs
        if teacher is not None and logits_only and alone:
            if _answers_once(teacher, first):
                self.answers = self._all_answers()
            elif not _is_quick(teacher):
                self.logits = open_logits(first, self.images, context)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.views) * self.passes

    def epoch(self, epoch: int) -> Iterator[DistillationBatch]:
        """The batches of an epoch, counted from 1, pass by pass."""
        for number in range(self.passes):
            yield from self._pass((epoch - 1) * self.passes + number + 1)

    def fixed(self) -> Fixed | None:
        """What an image looks like in every epoch, and what its teacher makes of it; None if that changes."""
        views = self.views
        unknown = self.teacher is not None and self.answers is None
        if not isinstance(views, Values) or views.batching.share is not whole or self.mixing or unknown:
            return None
        return Fixed(views.values, views.labels, self.answers)

    def order(self, epoch: int, number: int) -> Tensor:
        """Which image comes when in a pass of an epoch, counted from 0: int64 (N,). Of `fixed` ones."""
        return cast("Values", self.views).order((epoch - 1) * self.passes + number + 1)

    def _pass(self, epoch: int) -> Iterator[DistillationBatch]:
        """The batches of a pass over the images; passes are counted from 1 through all epochs."""
        kept = self.logits.load(epoch) if self.logits else None
        if kept is not None:
            yield from self._from(kept, epoch)
            return
        if self.answers is not None:
            for batch in self._batches(epoch):
                yield batch._replace(taught=logits_alone(self.answers.index_select(0, batch.indices)))
            return
        # the batches of teacher and student have the same images in the same order (`_privileged`)
        with self.logits.keeping(epoch) if self.logits else nullcontext() as keep:
            theirs = self.privileged.epoch(epoch) if self.privileged else repeat(None)
            for batch, seen in zip(self._batches(epoch), theirs, strict=False):
                taught = self.teacher_forward(batch.x if seen is None else seen[0], batch.images)
                if keep and taught:
                    keep(taught.logits)
                yield batch._replace(taught=taught)

    def _batches(self, epoch: int) -> Iterator[DistillationBatch]:
        """The batches of a pass, mixed where the recipe says so, without what the teacher makes of them."""
        for number, (x, y, indices) in enumerate(self.views.epoch(epoch)):
            batch = DistillationBatch(x, y, None, indices, self._size(number))
            mix = self.mixing and self.mixing.of_batch(epoch, number, x.shape[2], x.shape[3])
            yield self._mixed(batch, mix) if mix else batch

    def _mixed(self, batch: DistillationBatch, mix: Mix) -> DistillationBatch:
        """Each image of a batch with the one before it."""
        x, y, indices = batch.x, batch.y, batch.indices
        if self.group.size == 1:
            before, classes = x.roll(1, 0), y.roll(1, 0)
        else:  # the first image is here for the second one alone: `with_partner`
            before, classes = x[:-1], y[:-1]
            x, y, indices = x[1:], y[1:], indices[1:]
        return DistillationBatch(mix.mixed(x, before), y, None, indices, batch.images, classes, mix.share)

    def _all_answers(self) -> Tensor:
        """The logits of a teacher to whom an image looks the same in each epoch, (N, K) by index."""
        logits: list[Tensor] = []
        indices: list[Tensor] = []
        for x, _, index in (self.privileged or self.views).epoch(1):
            taught = self.teacher_forward(x, len(x))
            if taught is not None:
                logits.append(taught.logits)
                indices.append(index)
        # they came in the order of an epoch; argsort of these indices is the way back to that of the data set
        return torch.cat(logits).index_select(0, torch.cat(indices).argsort())

    def _from(self, kept: Tensor, epoch: int) -> Iterator[DistillationBatch]:
        """The batches of an epoch with the stored logits of the teacher, and nothing else of its output."""
        start = 0
        for batch in self._batches(epoch):
            logits = kept[start : start + len(batch.y)].to(batch.x.device, non_blocking=True)
            start += len(batch.y)
            yield batch._replace(taught=logits_alone(logits))

    def _size(self, number: int) -> int:
        """The images of a whole batch, counted from 0."""
        return min(self.batch_size, self.images - number * self.batch_size)

    @torch.no_grad()
    def teacher_forward(self, x: Tensor, images: int) -> Output | None:
        """What the teacher makes of this rank's images x of a batch of so many.

        Ghost batches are put through it one by one, so that its output has the same bits on any rank.
        """
        if self.teacher is None or not len(x):
            return None
        with arithmetic(self.precision, x.device):
            if self.graphed is not None and not self.ghost_batches:
                return self.graphed(x)  # type: ignore[no-any-return]
            if not self.ghost_batches:
                return self.teacher(x)
            parts = self.group.parts(self.ghost_batches, images)
            outputs = [self.teacher(x[part.here]) for part in parts]
        logits = torch.cat([output.logits for output in outputs])
        features = torch.cat([output.features for output in outputs])
        stages = zip(*(output.maps for output in outputs), strict=True)
        return outputs[0]._replace(logits=logits, features=features, maps=tuple(map(torch.cat, stages)))


def _privileged(run: Run, context: TrainingContext) -> Epochs | None:
    """A teacher's own views of the same images in the same order, where it was trained on another data set.

    They are prepared as the teacher's own recipe has it, and their batches are the student's.
    """
    teacher = run.teacher
    if teacher is None or teacher.run.dataset == run.dataset:
        return None
    ours = run.recipe
    recipe = replace(
        teacher.run.recipe,
        batch_size=ours.batch_size,
        train_size=ours.train_size,
        subset=ours.subset,
        transfer_classes=ours.transfer_classes,
        validation_size=ours.validation_size,
        validation_seed=ours.validation_seed,
        mixup=0.0,
        cutmix=0.0,
    )
    seen = replace(teacher.run, seed=run.seed, recipe=recipe)
    return training_views(seen, context.data.of(seen), context)


def _answers_once(teacher: nn.Module, run: Run) -> bool:
    """Whether the output of a teacher without convolutions is computed once, instead of in each epoch.

    That is so where an image looks the same to it in each epoch: by its own views where those are of another
    data set (and it is quick, as ever), else by the student's.
    """
    if run.recipe.ghost_batches or run.teacher is None or _has_convolutions(teacher):
        return False
    taught = run.teacher.run
    if taught.dataset != run.dataset:
        return _is_quick(teacher) and _is_fixed(taught.recipe)
    return not _is_quick(teacher) and _is_fixed(run.recipe)


def _is_fixed(recipe: Recipe) -> bool:
    """Whether an image looks the same in every epoch."""
    moved = recipe.crop or recipe.flip or recipe.rotation or recipe.resized_crop
    return not (moved or recipe.randaugment or recipe.random_erasing or recipe.mixes)


def _is_quick(teacher: nn.Module) -> bool:
    """Whether a teacher answers faster than its logits could be read."""
    return not _has_convolutions(teacher) and sum(each.numel() for each in teacher.parameters()) < QUICK


def _has_convolutions(network: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in network.modules())
