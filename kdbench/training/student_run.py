"""A run of a cohort under way: all that is its own, from its network to its result.

What the runs of a cohort share is made once for all of them (run.py); nothing that one does may reach
another. Dropout is the one thing that torch draws from a common generator: each run has that generator's
state for itself.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from kdbench.data.random import torch_seed
from kdbench.errors import DivergedError
from kdbench.models.output import Output
from kdbench.plan.plugin_runs import check_plugins, plugin_facts
from kdbench.spec.events import Task
from kdbench.spec.results import RESULT_SCHEMA, Result
from kdbench.spec.runs import Run
from kdbench.store.predictions import LABELS, accuracy_by_class, decode, encode, save_predictions
from kdbench.store.weights import checkpoints_of
from kdbench.training import checkpoint, ghost_batches, memory
from kdbench.training.averaged import Averaged
from kdbench.training.checkpoint import EpochResult, Progress
from kdbench.training.context import TrainingContext
from kdbench.training.distillers.distiller import Distiller, Remembering, Step
from kdbench.training.environment import environment, input_digests, now
from kdbench.training.evaluation import evaluate, true_classes
from kdbench.training.generator import random_state, seed_torch, set_random_state
from kdbench.training.graphs import Graphed, uses_graphs
from kdbench.training.images import training_labels
from kdbench.training.objective import LossObjective, make_objective, reads_maps
from kdbench.training.optim import Gradients, Rate, limit_norms, lr_at, make_optimizer, rate_on
from kdbench.training.precision import arithmetic, check_precision, forward_of
from kdbench.training.recorded import RecordedStep, recordable
from kdbench.training.targets import hard_targets
from kdbench.training.teacher_batches import DistillationBatch, flat

if TYPE_CHECKING:
    from concurrent.futures import Future

    from kdbench.models.output import Network

T = TypeVar("T")


class StudentRun:
    """A run, its student and how far it is.

    Args:
        task: the run, and the epochs whose weights others learn from; the last and the best are kept always.
        context: this process's hold on its machine.
        size: how many runs are trained beside each other, this one among them.

    Raises:
        UserError: the data are missing, or what the loss needs of them, or the device has no such precision,
            or other versions of plugins are installed than the run is of.
    """

    def __init__(self, task: Task, context: TrainingContext, size: int = 1) -> None:
        self.task, self.run, self.context, self.size = task, task.run, context, size
        self.wanted: set[int | str] = {"best", self.run.recipe.epochs, *task.keep}
        self.folder = checkpoints_of(context.machine.scratch, self.run.id)
        self.progress = Progress()
        with context.group.agree():
            check_precision(self.run.precision, context.device)
            check_plugins(self.run)
            self.data = context.data.of(self.run)
            self._make_modules()
            self._choose_step()
            self.basis = input_digests(self.run, context)
            if context.group.is_main:
                self.restore_checkpoint()
        # Each rank has made the same weights, and only the first one has read a checkpoint: now all have its
        # tensors, and its progress.
        context.group.broadcast([*self.checkpointed.state_dict().values(), *self.optimizer.state])
        self.progress = context.group.broadcast_object(self.progress)
        own: dict[str, int | bool] = {"cohort": size, "processes": context.group.size}
        if self.graphed:
            own["cuda_graphs"] = True
        self.progress.start({**environment(context.device), **self.basis, **plugin_facts(self.run), **own})
        self.unwritten: dict[str, tuple[bytes, Tensor]] = {}
        """By name: weights that the next checkpoint writes, and the classes that they predict."""
        self.writing: Future[Progress] | None = None
        """A checkpoint that is written beside the training."""
        self.seconds_at_checkpoint = sum(self.progress.seconds)
        """Seconds of the run at its newest checkpoint."""

    def _make_modules(self) -> None:
        """All that has weights: the student, what is trained beside it, its mean; and the optimizer."""
        recipe = self.run.recipe
        self.student = self.context.network(self.run)
        self.averaged = Averaged(self.student, recipe.ema) if recipe.ema else None
        self.evaluated = self.averaged.network if self.averaged else self.student
        self.objective = make_objective(self.run, self.context)
        self.memories = [each for each in self.objective.modules() if isinstance(each, Remembering)]
        if reads_maps(self.run.loss):
            cast("Network", self.student).gives_maps = True
        self.trained = nn.ModuleDict({"model": self.student, "distiller": self.objective})
        self.checkpointed = nn.ModuleDict(dict(self.trained.items()))
        """All that is trained, and the student's mean."""
        if self.averaged:
            self.checkpointed["ema"] = self.averaged.network
        self.parameters = list(self.trained.parameters())
        self.optimizer = make_optimizer(recipe, self.parameters)

    def _choose_step(self) -> None:
        """How a step is done (see `step`): whether as a graph, or by a record of the first one."""
        self.rate_on: Callable[[float], Rate] = partial(rate_on, self.context.device)
        self.forward = forward_of(self.student, self.run.precision)
        small = recordable(self.run, self.trained, self.objective, self.context.device)
        self.recorded = RecordedStep(self.parameters) if small else None
        self.graphed = None
        if _graphable(self.run, self.objective, self.context):
            self.graphed = self._graphed()
            self.steady = cast("Distiller | LossObjective", self.objective).steady or 1
        self.never_stacked = False
        """Whether its steps were found to have other bits beside those of other seeds."""

    def restore_checkpoint(self) -> None:
        """Go on from the newest checkpoint; the first rank of a group reads it for all."""
        self.progress = checkpoint.load_progress(
            self.folder, self.checkpointed, self.optimizer, self.basis, self.wanted
        )

    def begin(self, epoch: int) -> None:
        """Get ready for an epoch."""
        self.epoch, self.seconds = epoch, 0.0
        self.losses: list[Tensor] = []
        self.sizes: list[int] = []
        self.trained.train()
        seed_torch(torch_seed(self.run.seed, "dropout", epoch))
        self.random = random_state(self.context.device)

    def step(self, number: int, steps: int, batch: DistillationBatch) -> None:
        """Learn from a batch: the number-th, counted from 0, of so many."""
        started, at = perf_counter(), Step(batch.indices, self.epoch, number, self.run.seed)
        lr = self.rate_on(lr_at(self.run.recipe, self.epoch, number, steps))
        # Four ways to the same numbers: in parts, by a CUDA graph, by a recorded program, by autograd.
        with arithmetic(self.run.precision, self.context.device):
            if self.run.recipe.ghost_batches:
                value = ghost_batches.learn(self.run, at, self.trained, self.loss, batch, self.context.group)
                self._update(lr)
            elif self.graphed is not None:
                epoch = min(self.epoch, self.steady)
                value = self._with_own_draws(partial(self.graphed, batch.x, batch.y, batch.taught, lr, epoch))
                value = value.clone()  # the next step's lies in the same place
            elif self.recorded is not None:
                inputs = [batch.x, batch.y, *flat(batch.taught)]
                act = partial(self.recorded.gradients, inputs, lambda: self.loss(batch, at))
                value, gradients = self._with_own_draws(act, draws=self.recorded.draws)
                self._update(lr, gradients)
            else:
                value = self._with_own_draws(partial(self._learn, batch, at))
                self._update(lr)
        self.losses.append(value)
        self.sizes.append(batch.images)
        self.seconds += perf_counter() - started

    def _with_own_draws(self, act: Callable[[], T], *, draws: bool = True) -> T:
        """Do something that draws from torch's generator as if no other run did; alone, none does."""
        if self.size == 1 or not draws:
            return act()
        set_random_state(self.context.device, self.random)
        value = act()
        self.random = random_state(self.context.device)
        return value

    def _learn(self, batch: DistillationBatch, at: Step) -> Tensor:
        """Leave the gradient of a batch in the parameters; its mean loss."""
        value = self.loss(batch, at)
        value.backward()  # type: ignore[no-untyped-call]
        for distiller in self.memories:
            distiller.write()
        return value.detach()

    def _update(self, lr: Rate, gradients: Gradients = None) -> None:
        """Change the weights by these gradients, else by those in the parameters; and all that follows."""
        recipe = self.run.recipe
        if recipe.clip_norm:
            ghost_batches.gradients(self.trained)  # none is missing, so that all ranks sum up the same ones
            nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
        self.optimizer.step(lr, gradients)
        if recipe.max_norm:
            limit_norms(self.parameters, recipe.max_norm)
        if self.averaged:
            self.averaged.update()
        for parameter in self.parameters:  # at once: the runs share the room for gradients
            parameter.grad = None

    def _graphed(self) -> Graphed:
        """The whole step as a graph: forward and backward pass, clipping, optimizer, mean of the weights.

        All that differs from step to step is in its arguments: images, classes, the teacher's output, the
        learning rate; and the epoch, of which there is a new graph while the loss is another in each.
        """

        def whole(x: Tensor, y: Tensor, taught: Output | None, lr: Tensor, epoch: int) -> Tensor:
            # A graph keeps epoch, number and indices as they were when it was captured. Distillers that read
            # the latter two are not made graphs (`_graphable`); y stands for the indices.
            batch = DistillationBatch(x, y, taught, y, len(y))
            value = self._learn(batch, Step(y, epoch, 0, self.run.seed))
            self._update(lr)
            return value

        weights = [*self.parameters, *(self.averaged.network.state_dict().values() if self.averaged else ())]
        what = f"{self.run.slug} seed {self.run.seed}: a step"
        return Graphed(whole, [*self.trained.buffers(), *self.optimizer.state], what, weights=weights)

    def loss(self, batch: DistillationBatch, at: Step) -> Tensor:
        """Of a batch, with the graph that leads to its gradients."""
        s = self.forward(batch.x)
        smoothing = self.run.recipe.label_smoothing
        y = hard_targets(batch.y, s.logits, smoothing, partners=batch.partners, share=batch.share)
        return self.objective(s, y, batch.taught, at)  # type: ignore[no-any-return]

    def end(self, seconds: float) -> None:
        """Evaluate an epoch that took this run so many seconds, and keep it.

        Raises:
            DivergedError: the loss of a step, or on the test images, was NaN or infinite.
            UserError: the checkpoint cannot be written, or the one before it could not.
            LostError: another process trains the run now.
        """
        group, started = self.context.group, perf_counter()
        if self.writing is not None and self.writing.done():
            self.settle()
        with group.agree():
            train_loss = self.mean_loss()
        of = (self.run, self.evaluated, self.data, self.context)
        top1, test_loss, predicted = evaluate(*of)
        validation = evaluate(*of, held_out=True).top1 if self.run.recipe.validation_size else None
        whole = seconds + perf_counter() - started
        peak = torch.tensor(memory.peak(self.context.device))
        group.all_reduce([peak])
        with group.agree():
            found = EpochResult(top1, test_loss, train_loss, whole, seconds, int(peak), validation)
            self.progress.add(found)
            if group.is_main:
                self._save(predicted)

    def mean_loss(self) -> float:
        """The mean over the epoch's images.

        Raises:
            DivergedError: a step's was NaN or infinite.
        """
        each = torch.stack(self.losses).double().cpu()
        if not each.isfinite().all():
            step = int((~each.isfinite()).nonzero()[0])
            where = f"epoch {self.epoch}, step {step + 1}"
            raise DivergedError(f"diverged at {where}: the loss is {each[step].item()}")
        return float((each * torch.tensor(self.sizes)).sum() / sum(self.sizes))

    def _save(self, predicted: Tensor) -> None:
        """Hold the weights that teach and what they predict, of wanted epochs and the best; a checkpoint.

        Writing takes longer than a short run's epoch: there is a checkpoint once in so many seconds, and at
        the end, should the result not be written; then what is held is written too. All but the last one are
        written while the next epoch trains. The ranks of a group wait for it, and fail together if it fails.
        """
        # `unwritten` has the weights of at most a few epochs: "best" is replaced by each better one, and a
        # wanted epoch's stay until the next checkpoint writes them.
        epoch, progress = self.progress.epoch, self.progress
        best = progress.curve.best_epoch == epoch
        names = self.wanted & {epoch, *(["best"] if best else [])}
        if names:
            content = checkpoint.weights_content(self.evaluated)
            self.unwritten |= {str(name): (content, predicted) for name in names}
        since = sum(progress.seconds) - self.seconds_at_checkpoint
        last = epoch == self.run.recipe.epochs
        if since < self.context.machine.local.checkpoint_seconds and not last:
            return
        self.settle()
        self.seconds_at_checkpoint = sum(progress.seconds)
        tensors = checkpoint.tensors_of(self.checkpointed, self.optimizer)
        write = partial(self._write, deepcopy(progress), tensors, self.unwritten, durable=self.durable)
        self.unwritten = {}
        self.writing = self.context.writer.start(partial(self.context.leases.write, self.run.id, write))
        if last or self.context.group.size > 1:
            self.settle()

    def _write(
        self,
        progress: Progress,
        tensors: Mapping[str, Tensor],
        held: Mapping[str, tuple[bytes, Tensor]],
        *,
        durable: bool,
    ) -> Progress:
        """Write weights and a checkpoint; all of it copies, since the run goes on meanwhile.

        Returns:
            The progress, with the digests of the weights.
        """
        for name, (content, classes) in held.items():
            progress.weights[name] = checkpoint.save_weights(
                self.folder / "weights", name, content, durable=durable
            )
            progress.predicted[name] = b64encode(self._classes(classes)).decode()
        checkpoint.save_progress(self.folder, progress, tensors, self.basis, durable=durable)
        return progress

    def settle(self) -> None:
        """Wait for the checkpoint that is being written, if there is one.

        Raises:
            UserError: it could not be written.
            LostError: another process trains the run now.
        """
        if self.writing is not None:
            written = self.writing.result()
            self.progress.weights, self.progress.predicted = written.weights, written.predicted
            self.writing = None

    def failure(self, error: Exception) -> Exception:
        """Why the run ends that raised an error: what its last checkpoint failed with came before."""
        try:
            self.settle()
        except Exception as earlier:  # noqa: BLE001 - whatever it is
            return earlier
        return error

    @property
    def durable(self) -> bool:
        """Whether the run has trained for so long that its files are worth a sync.

        Their digests are in their names: one that is lost with the power is found so, and made again.
        """
        return sum(self.progress.seconds) >= self.context.machine.local.checkpoint_seconds

    def _classes(self, classes: Tensor) -> bytes:
        return encode(classes.tolist(), self.data.classes)

    def _by_class(self) -> tuple[float, ...]:
        """The accuracy of each class after the last epoch, where the recipe treats classes differently."""
        recipe = self.run.recipe
        if not (recipe.transfer_classes or recipe.bias):
            return ()
        predicted = b64decode(self.progress.predicted[str(recipe.epochs)])
        labels = true_classes(self.run, self.data).tolist()
        return accuracy_by_class(decode(predicted, self.data.classes), labels, self.data.classes)

    def _publish(self) -> dict[str, str]:
        """Hand over weights and predictions; the digests of the latter."""
        scratch, progress = self.context.machine.scratch, self.progress
        checkpoint.publish(self.folder, scratch / "weights" / self.run.id, progress.weights)
        kept = {name: b64decode(text) for name, text in progress.predicted.items()}
        labels = self._classes(true_classes(self.run, self.data))
        return save_predictions(scratch, self.run.id, {**kept, LABELS: labels}, durable=self.durable)

    def result(self) -> Result:
        """The record of the finished run; its weights are handed over to those who learn from it."""
        run, progress, curve = self.run, self.progress, self.progress.curve
        segments = progress.segments
        predictions = self.context.leases.write(run.id, self._publish)
        images = len(training_labels(run, self.data)) * (run.recipe.passes or 1) * run.recipe.epochs
        return Result(
            schema=RESULT_SCHEMA,
            id=run.id,
            run=run,
            curve=curve,
            last=curve.at("last"),
            best=curve.at("best"),
            best_epoch=curve.best_epoch,
            seconds=round(sum(progress.seconds), 3),
            images_per_second=round(images / progress.training_seconds, 1),
            peak_memory=progress.peak_memory,
            weights=progress.weights,
            environment={**segments[-1].environment, "finished": now()},
            segments=segments if len(segments) > 1 else (),
            predicted=predictions,
            by_class=self._by_class(),
        )


def _graphable(run: Run, objective: nn.Module, context: TrainingContext) -> bool:
    """Whether a student's steps are to be a graph: those of a loss that sees outputs and the epoch alone.

    That is a function, or a distiller that says so: others may look at the number of the step, or draw. Nor
    is it a batch in parts, or mixed by a share that is a number; nor other packages' code; nor what torch
    compiles.
    """
    recipe = run.recipe
    more = recipe.ghost_batches or recipe.mixes or run.plugins
    steady = isinstance(objective, LossObjective | Distiller) and objective.steady is not None
    plain = steady and not run.precision.endswith("-compiled")
    return uses_graphs(context) and plain and not more
