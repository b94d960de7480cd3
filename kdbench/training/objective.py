"""A run's objective: one interface to losses, which are functions of outputs, and to distillers.

A loss of another package is held to its word.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from kdbench import catalog
from kdbench.catalog import DistillerEntry
from kdbench.data.neighbours import neighbours
from kdbench.data.random import torch_seed
from kdbench.errors import DivergedError, UserError, is_out_of_memory
from kdbench.models.build import build_network
from kdbench.models.output import Output
from kdbench.plugins import described
from kdbench.spec.runs import Loss, Run
from kdbench.training.context import TrainingContext
from kdbench.training.distillers.distiller import Setting, Step
from kdbench.training.generator import seed_torch
from kdbench.training.images import training_labels

if TYPE_CHECKING:
    from kdbench.models.output import Network


class LossObjective(nn.Module):
    """A loss as an objective: it has neither parameters nor buffers, and needs not know where a step stands.

    Args:
        function: of the student's output, the classes, the teacher's output if `taught`, and A(x) if it is
            given.
        near: A(x), (K, K).
        taught: whether there is a teacher.
    """

    steady = 1
    """As of a `Distiller`."""

    def __init__(self, function: Callable[..., Tensor], near: Tensor | None, *, taught: bool) -> None:
        super().__init__()
        self.function, self.taught = function, taught
        self.fixed = [] if near is None else [near]

    def forward(self, s: Output, y: Tensor, t: Output | None, _: Step) -> Tensor:
        """The loss of a batch, a scalar."""
        return self.function(s, y, *([t] if self.taught else []), *self.fixed)


def make_objective(run: Run, context: TrainingContext) -> nn.Module:
    """The run's loss or distiller with its parameters in place, on the device.

    Called with (student's output, classes, teacher's output or None, `Step`).

    Raises:
        UserError: the data set has no A(x), and the loss needs it; or a distiller does not fit the networks.
    """
    entry = catalog.find("losses", run.loss.name)
    if not isinstance(entry, DistillerEntry):
        near = neighbours(run.dataset).to(context.device) if entry.neighbours else None
        return LossObjective(loss_function(run.loss), near, taught=run.taught)
    if entry.memory and run.recipe.ghost_batches and catalog.package_of("losses", run.loss.name):
        raise UserError(
            f"{run.slug}: {run.loss.name} keeps something of each image, which it learns from whole batches; "
            "remove ghost_batches from the recipe"
        )
    try:
        of = setting(run, training_labels(run, context.data.of(run)))
        seed_torch(torch_seed(run.seed, f"init {run.loss.name}"))
        distiller = make_distiller(run.loss, of)
    except (ValueError, IndexError) as error:
        raise UserError(f"{run.slug}: {run.loss.name} does not fit these networks: {error}") from error
    return distiller.to(context.device)


def make_distiller(loss: Loss, of: Setting) -> nn.Module:
    """A distiller with its parameters in place, with random weights from torch's generator.

    Raises:
        UserError: it is another package's, and its code fails or gives no module.
        ValueError, IndexError: one of kdbench's does not fit the networks.
    """
    build = catalog.code_of("losses", loss.name)
    package = catalog.package_of("losses", loss.name)
    if not package:
        return build(of, **loss.params)  # type: ignore[no-any-return]
    try:
        distiller = build(of, **loss.params)
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"{package}: the distiller {loss.name!r} cannot be built: {described(error)}; it is called with "
            f"a Setting(student, teacher, labels, classes) and its parameters, and has maps of the networks "
            f"if its entry says maps = True"
        ) from error
    if not isinstance(distiller, nn.Module):
        raise UserError(
            f"{package}: the distiller {loss.name!r} is a {type(distiller).__name__}, not an nn.Module"
        )
    return CheckedDistiller(distiller, loss.name, package)


class CheckedDistiller(nn.Module):
    """Another package's distiller, whose mistakes are one sentence that names the package."""

    def __init__(self, distiller: nn.Module, name: str, package: str) -> None:
        super().__init__()
        self.distiller, self.name, self.package = distiller, name, package

    def forward(self, s: Output, y: Tensor, t: Output, at: Step) -> Tensor:
        """As `Distiller.forward`."""
        takes = (
            "the student's Output(logits, features, weight, bias, maps), the classes (N,), the teacher's "
            "Output and a Step(indices, epoch, number, seed), and has maps if its entry says maps = True"
        )
        call = _checked(self.distiller, f"the distiller {self.name!r}", self.package, takes)
        return call(s, y, t, at)


def setting(run: Run, labels: Tensor) -> Setting:
    """What the run's distiller is built of; labels: of its training images, int64 (N,)."""
    taught = run.teacher_model
    if not taught:
        raise ValueError("it needs a teacher")
    seen = run.teacher.run if run.teacher else run
    return Setting(shapes(run, run.student), shapes(seen, taught), labels, run.outputs)


def distiller_bytes(run: Run) -> tuple[int, int]:
    """What a run's distiller takes: bytes of its parameters, and of its buffers (a memory bank); 0 of a loss.

    It is built on the meta device, where nothing is allocated: CRD's on CIFAR-100 has 51,200,008 bytes of
    buffers, 2 x 50,000 x 128 floats and two normalizers.
    """
    if not isinstance(catalog.find("losses", run.loss.name), DistillerEntry) or not run.teacher_model:
        return 0, 0
    labels = torch.zeros(run.recipe.images(catalog.find("datasets", run.dataset).train), dtype=torch.int64)
    made = setting(run, labels)
    with torch.device("meta"):
        distiller: nn.Module = catalog.code_of("losses", run.loss.name)(made, **run.loss.params)
    parameters = sum(each.nbytes for each in distiller.parameters())
    return parameters, sum(each.nbytes for each in distiller.buffers())


@torch.no_grad()
def shapes(run: Run, model: str) -> Output:
    """What a model makes of one of a run's images, as tensors on the meta device: shapes alone."""
    # It is computed, with random weights: a forward pass on the meta device imports the compiler, 8 s in each
    # worker.
    entry = catalog.find("datasets", run.dataset)
    side = run.recipe.size or entry.size
    network = build_network(model, run.recipe.classes or entry.classes, entry.channels).eval()
    cast("Network", network).gives_maps = True
    output: Output = network(torch.zeros(1, entry.channels, side, side))
    return cast("Output", tree_map_only(Tensor, partial(torch.empty_like, device="meta"), output))


def reads_maps(loss: Loss) -> bool:
    """Whether networks must give their maps."""
    entry = catalog.find("losses", loss.name)
    return isinstance(entry, DistillerEntry) and entry.maps


def loss_function(loss: Loss) -> Callable[..., Tensor]:
    """A loss with its parameters in place.

    Raises:
        LookupError: there is no such loss.
    """
    function = partial(catalog.code_of("losses", loss.name), **loss.params)
    package = catalog.package_of("losses", loss.name)
    takes = (
        "the student's Output(logits, features, weight, bias, maps), the classes (N,), and the teacher's "
        "Output if its entry says teacher = True"
    )
    return _checked(function, f"the loss {loss.name!r}", package, takes) if package else function


def _checked(function: Callable[..., Tensor], what: str, package: str, takes: str) -> Callable[..., Tensor]:
    """What another package's code gets wrong is one sentence that names it, not a traceback."""

    def call(s: Output, *more: Any) -> Tensor:  # noqa: ANN401 - outputs and tensors
        try:
            value = function(s, *more)
        except (UserError, DivergedError):
            raise
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):  # no mistake of the package: with fewer runs beside it, it may fit
                raise
            raise UserError(
                f"{package}: {what} fails with {described(error)}; it is called with {takes}"
            ) from error
        if (came := _mistaken(value)) is not None:
            raise UserError(
                f"{package}: {what} returns {came:.200}; it must return its mean over the batch, "
                f"a tensor of one number (add .mean())"
            )
        if s.logits.requires_grad and not value.requires_grad:
            raise UserError(
                f"{package}: {what} returns a value without a gradient; it must be computed from the "
                f"student's output without .item(), .detach() and torch.no_grad()"
            )
        return value

    return call


def _mistaken(value: object) -> str | None:
    """What came instead of a tensor of one number, in words."""
    if not isinstance(value, Tensor):
        return repr(value)
    return f"a tensor of shape {tuple(value.shape)}" if value.ndim else None
