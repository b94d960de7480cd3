"""What a process keeps for the next run, or for the next evaluation."""

import torch
from msgspec.structs import replace

from kdbench.training.context import TrainingContext
from kdbench.training.images import evaluation_set, validation_images
from tests.support.training import digits


def test_images_of_the_last_two_evaluations_are_chosen_and_moved_once(context: TrainingContext) -> None:
    """On a CPU they are where they were; only held-out ones, which lie here and there, are copied."""
    run = digits(validation_size=30)
    data = context.data.of(run)
    tested, held_out = (evaluation_set(run, data, context, held_out=which) for which in (False, True))
    assert tested.images.data_ptr() == data.test_images.data_ptr()
    assert held_out.classes.equal(data.train_labels[validation_images(run, len(data.train_labels))])
    for again, which in (tested, False), (held_out, True):
        assert evaluation_set(run, data, context, held_out=which) is again
    fewer = replace(run, recipe=replace(run.recipe, test_size=50))
    assert len(evaluation_set(fewer, data, context).images) == 50
    assert evaluation_set(run, data, context, held_out=True) is held_out
    assert evaluation_set(run, data, context) is not tested


def test_images_of_an_evaluation_lie_where_networks_are(context: TrainingContext) -> None:
    context.device = torch.device("meta")
    found = evaluation_set(digits(), context.data.of(digits()), context)
    assert [part.device.type for part in found] == ["meta", "meta", "cpu"]
