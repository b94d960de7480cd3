"""RandAugment and random erasing against torchvision's, image by image, and what their draws depend on."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from kdbench.data import augment
from kdbench.data.augment import Augmentation, Augmented

N = 64
OPERATIONS = 14


def images(channels: int = 3, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (N, channels, side, side), dtype=torch.uint8, generator=generator)


def by_torchvision(image: Tensor, chosen: int, magnitude: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """v2.RandAugment itself on one image, its draws being the operation, and the sign of its magnitude."""
    from torchvision.transforms import v2

    monkeypatch.setattr(v2.RandAugment, "_get_random_item", lambda _, dct: drawn(dct, abs(chosen) - 1))
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(0.1 if chosen < 0 else 0.9))
    changed: Tensor = v2.RandAugment(num_ops=1, magnitude=magnitude)(image)
    monkeypatch.undo()
    return changed


def drawn(space: dict[str, object], number: int) -> tuple[str, object]:
    assert len(space) == OPERATIONS
    name = list(space)[number]
    return name, space[name]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [9, 30])
def test_each_image_is_torchvisions_alone(
    channels: int, magnitude: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operation with either sign, all in one batch."""
    chosen = np.array([sign * (1 + number) for number, sign in product(range(OPERATIONS), (1, -1))])
    batch = images(channels)[: len(chosen)]
    found = Augmented([chosen], magnitude, None).images(batch, np.arange(len(chosen)))
    for one, image, each in zip(found, batch, chosen.tolist(), strict=True):
        assert one.equal(by_torchvision(image, each, magnitude, monkeypatch)), f"operation {abs(each) - 1}"
    assert not found.equal(batch)


def test_operations_follow_each_other() -> None:
    batch, first, second = images(), np.full(N, 6), np.full(N, 12)
    both = Augmented([first, second], 9, None).images(batch, np.arange(N))
    after = Augmented([first], 9, None).images(batch, np.arange(N))
    assert both.equal(Augmented([second], 9, None).images(after, np.arange(N)))


def test_image_is_the_same_in_any_batch() -> None:
    of_epoch = Augmentation(0, 2, 9, 0.5).of_epoch(3, N, 32, 32)
    batch, values = images(), torch.rand(N, 3, 32, 32)
    whole = of_epoch.images(batch, np.arange(N)), of_epoch.values(values.clone(), np.arange(N))
    some = np.array([5, 3, 60])
    part = of_epoch.images(batch[some], some), of_epoch.values(values[some], some)
    assert all(one.equal(other[some]) for one, other in zip(part, whole, strict=True))


def test_every_operation_is_drawn_alike_and_anew_each_epoch() -> None:
    augmentation = Augmentation(0, 2, 9, 0.0)
    first, second = augmentation.of_epoch(1, 14_000, 32, 32).operations
    counts = np.bincount(np.abs(first))[1:]
    assert len(counts) == OPERATIONS
    assert counts.min() > 850
    assert np.mean(first < 0) == pytest.approx(0.5, abs=0.02)
    assert not (first == second).all()
    other = augmentation.of_epoch(2, 14_000, 32, 32).operations[0]
    assert not (first == other).all()


def test_erased_box_is_torchvisions() -> None:
    from torchvision.transforms.v2.functional import erase

    of_epoch = Augmentation(0, 0, 9, 0.5).of_epoch(1, N, 32, 24)
    values = torch.rand(N, 3, 32, 24)
    found = of_epoch.values(values.clone(), np.arange(N))
    assert of_epoch.boxes is not None
    for one, value, box in zip(found, values, zip(*of_epoch.boxes, strict=True), strict=True):
        top, left, height, width = map(int, box)
        assert one.equal(erase(value, top, left, height, width, torch.zeros(1)))


def test_erased_boxes_have_torchvisions_shares() -> None:
    """So many images, of so much area, within their borders, as RandomErasing's own draws have them."""
    from torchvision.transforms import v2

    boxes = augment._boxes(0, 1, 4000, 32, 32, 0.25)  # noqa: SLF001
    areas = (boxes.height * boxes.width)[boxes.height > 0] / 32**2
    torch.manual_seed(0)
    drawn = [v2.RandomErasing().make_params([torch.empty(3, 32, 32)]) for _ in range(1000)]
    theirs = [each["h"] * each["w"] / 32**2 for each in drawn]
    assert len(areas) / 4000 == pytest.approx(0.25, abs=0.03)
    assert areas.mean() == pytest.approx(np.mean(theirs), abs=0.015)
    assert (boxes.top + boxes.height).max() <= 32
    assert (boxes.left + boxes.width).max() <= 32
    assert (boxes.top.min(), boxes.left.min()) == (0, 0)
