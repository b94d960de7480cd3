"""What a network can do on each label space of a data set."""

import torch
from torch import nn

from kdbench.data.views import plain_batches
from kdbench.importing.labels import Measured, label_spaces
from kdbench.importing.passport import Normalisation
from kdbench.training.world import World

BATCH = 500


@torch.no_grad()
def measure(network: nn.Module, dataset: str, normalisation: Normalisation, world: World) -> Measured:
    """Evaluate a network once and hold its predictions against every label space of the data.

    Raises:
        UserError: the data cannot be had.
    """
    network = network.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    data, found, outputs = world.dataset(dataset), [], 0
    for x, _, _ in plain_batches(
        data.test_images,
        data.test_labels,
        batch_size=BATCH,
        mean=normalisation.mean,
        std=normalisation.std,
        device=world.device,
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
