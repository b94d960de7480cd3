"""What a process keeps for the next run, or for the next evaluation."""

import torch

from kdbench.training.kept import Kept


def test_images_of_an_evaluation_are_moved_to_the_device_once() -> None:
    """There they stay while they are of the last two evaluations; on a CPU they are where they were."""
    kept, images, labels = Kept(), torch.zeros(2, 3, 4, 4), torch.zeros(2)
    cpu, device = torch.device("cpu"), torch.device("meta")
    assert kept.on_device(("test",), images, labels, cpu)[0] is images
    first = kept.on_device(("test",), images, labels, device)
    assert [part.device.type for part in first] == ["meta", "meta"]
    kept.on_device(("held out",), images, labels, device)
    assert kept.on_device(("test",), images, labels, device) is first
    kept.on_device(("another",), images, labels, device)
    assert kept.on_device(("test",), images, labels, device) is not first
