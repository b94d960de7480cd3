"""CRD's negatives, and the size of its memory."""

import torch

from kdbench.training.distillers.crd import Contrastive, OtherClasses
from kdbench.training.distillers.distiller import Setting
from tests.support.distillers import output

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 2])


def draw(n: int, seed: int = 0) -> torch.Tensor:
    y = torch.tensor([0, 1, 2])
    return OtherClasses(LABELS, 3).draw(y, n, torch.Generator().manual_seed(seed))


def test_negatives_are_all_images_of_other_classes_each_once() -> None:
    for label, row in enumerate(OtherClasses(LABELS, 3).draw(torch.tensor([0]), 7, torch.Generator())):
        assert sorted(row.tolist()) == [i for i, other in enumerate(LABELS.tolist()) if other != label]
    for label, row in enumerate(draw(6)):
        assert len(set(row.tolist())) == 6
        assert not (LABELS[row] == label).any()


def test_more_negatives_than_images_come_twice() -> None:
    rows = draw(50)
    assert rows.shape == (3, 50)
    assert all(not (LABELS[row] == label).any() for label, row in enumerate(rows))


def test_every_image_of_other_classes_is_drawn_as_often() -> None:
    """1,000 draws of 2 of 7: each 286 times on average, with a std of 14; five of these are allowed."""
    counts = torch.zeros(10)
    for seed in range(1000):
        counts[draw(2, seed)[0]] += 1
    assert counts[LABELS == 0].sum() == 0
    assert (counts[LABELS != 0] - 2000 / 7).abs().max() < 5 * 14.3


def test_negatives_depend_on_the_generator_alone() -> None:
    assert draw(4, 1).equal(draw(4, 1))
    assert not draw(4, 1).equal(draw(4, 2))


def test_memory_is_two_embeddings_of_each_image_and_no_more() -> None:
    shape = output(0, 4, 1)
    setting = Setting(shape, shape, torch.arange(500) % 10, 10)
    crd = Contrastive(setting, beta=0.8, dim=128, negatives=100, T=0.07, momentum=0.5)
    assert sum(each.numel() for each in crd.buffers()) == 2 * 500 * 128 + 2
    norms = crd.memory.norm(dim=2)
    assert 0.8 < norms.mean() < 1.2  # uniform in ±sqrt(3 / 128): of norm 1 on average, as released
