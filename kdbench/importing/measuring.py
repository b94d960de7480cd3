"""What a network can do on each label space of a data set."""

import torch
from torch import nn

from kdbench.data.boxes import Framing
from kdbench.data.views import Normalise
from kdbench.store.label_spaces import Measured, label_spaces
from kdbench.store.provenance import Normalisation
from kdbench.training.context import TrainingContext
from kdbench.training.images import batches_of


@torch.no_grad()
def measure(
    network: nn.Module,
    dataset: str,
    normalisation: Normalisation,
    context: TrainingContext,
    framing: Framing | None = None,
) -> Measured:
    """Evaluate a network once and hold its predictions against every label space of the data.

    Args:
        network: what is measured.
        dataset: its data set, with its label space.
        normalisation: how the images are normalised.
        context: this process's hold on its machine.
        framing: how they are brought to a size (None: they are seen as they are).

    Raises:
        UserError: the data cannot be had.
    """
    network = network.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    data, found, outputs = context.data.named(dataset), [], 0
    normalise = Normalise(normalisation.mean, normalisation.std, context.device)
    for x, _, _ in batches_of(data.test_images, data.test_labels, normalise, framing, context):
        logits = network(x.contiguous(memory_format=torch.channels_last)).logits
        outputs = logits.shape[1]
        found.append(logits.argmax(dim=1).cpu())
    ids = torch.cat(found)
    labels = {space: context.data.named(space).test_labels for space in label_spaces(dataset)}
    right = {space: int((ids == known).sum()) for space, known in labels.items()}
    return Measured(
        top1={space: 100 * count / len(ids) for space, count in right.items()},
        predicted=tuple(sorted(set(ids.tolist()))),
        outputs=outputs,
        images=len(ids),
    )
