"""What a network can do on each label space of a data set, and whether that is what it is wanted for."""

import torch
from msgspec import Struct
from torch import nn

from kdbench import catalog
from kdbench.data.boxes import Framing
from kdbench.errors import UserError
from kdbench.importing.passport import Normalisation, ranges
from kdbench.training.images import batches_of
from kdbench.training.world import World


class Measured(Struct, frozen=True, kw_only=True):
    """What a network makes of the test images."""

    top1: dict[str, float]
    """The accuracy in percent by label space, the wanted one first."""
    predicted: tuple[int, ...]
    """The class ids that it ever predicts."""
    outputs: int
    images: int


@torch.no_grad()
def measure(
    network: nn.Module,
    dataset: str,
    normalisation: Normalisation,
    world: World,
    framing: Framing | None = None,
) -> Measured:
    """Evaluate a network once and hold its predictions against every label space of the data.

    Args:
        network: what is measured.
        dataset: its data set, with its label space.
        normalisation: how the images are normalised.
        world: this process's hold on its machine.
        framing: how they are brought to a size (None: they are seen as they are).

    Raises:
        UserError: the data cannot be had.
    """
    network = network.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    data, found, outputs = world.dataset(dataset), [], 0
    for x, _, _ in batches_of(
        data.test_images,
        data.test_labels,
        framing,
        world,
        mean=normalisation.mean,
        std=normalisation.std,
    ):
        logits = network(x.contiguous(memory_format=torch.channels_last)).logits
        outputs = logits.shape[1]
        found.append(logits.argmax(dim=1).cpu())
    ids = torch.cat(found)
    right = {space: int((ids == world.dataset(space).test_labels).sum()) for space in label_spaces(dataset)}
    return Measured(
        top1={space: 100 * count / len(ids) for space, count in right.items()},
        predicted=tuple(sorted(set(ids.tolist()))),
        outputs=outputs,
        images=len(ids),
    )


def label_spaces(dataset: str) -> list[str]:
    """The data sets of the catalog that are the same images, this one first."""
    pack = catalog.find("datasets", dataset).pack
    same = [name for name in catalog.names("datasets") if catalog.find("datasets", name).pack == pack]
    return [dataset, *(name for name in same if name != dataset)]


def check_label_space(measured: Measured, dataset: str, path: str) -> None:
    """Refuse a teacher of other labels than the data set's.

    Raises:
        UserError: another label space of the same images fits better, or none does; with the evidence.
    """
    best = max(measured.top1, key=lambda space: measured.top1[space])
    scores = ", ".join(f"{value:.2f} % on {space}" for space, value in measured.top1.items())
    told = (
        f"measured on {measured.images:,} test images: {scores}; "
        f"of its {measured.outputs} outputs it only ever predicts {ranges(measured.predicted)}"
    )
    if best != dataset and measured.top1[best] > guessing(best, measured.images):
        cure = f"import it with --dataset {best}"
        raise UserError(
            f"{path}: refused, this teacher knows the labels of {best}, not of {dataset}: {told}; {cure}"
        )
    if measured.top1[dataset] <= guessing(dataset, measured.images):
        cure = "is it for another model, data set or normalisation (--normalize)?"
        raise UserError(f"{path}: refused, on {dataset} it is no better than guessing: {told}; {cure}")


def guessing(dataset: str, images: int) -> float:
    """The accuracy, in percent, three standard deviations above that of guessing."""
    chance = 1 / catalog.find("datasets", dataset).classes
    return float(100 * (chance + 3 * (chance * (1 - chance) / images) ** 0.5))
