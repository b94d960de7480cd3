"""Views at a size: torchvision's distribution and pixels, the same whatever the number of workers."""

import threading
from typing import Any

import numpy as np
import pytest
import scipy
import torch
from PIL import Image
from torch import Tensor

from kdbench.data.boxes import Framing, centre, crop, draw_boxes
from kdbench.data.crops import Crops, centre_batches
from kdbench.data.views import Batch, Batching, Normalise
from kdbench.training.operators import Operators

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")
NORMALISE = Normalise(MEAN, STD, CPU)
FRAMING = Framing(size=32, resize=36, resized_crop=True, flip=True)


class Many:
    """Images of noise, of three sizes."""

    def __init__(self, n: int) -> None:
        self.sizes = np.array([(40, 60), (50, 40), (40, 40)] * n, np.int32)[:n]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Tensor:
        if index >= len(self):
            raise IndexError(index)
        shape = (3, *self.sizes[index].tolist())
        generator = torch.Generator().manual_seed(index)
        return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def crops(
    n: int = 23,
    *,
    framing: Framing = FRAMING,
    images: Any = None,  # noqa: ANN401
    batch_size: int = 4,
    **other: int,
) -> Crops:
    settings: dict[str, Any] = {"seed": 5, "workers": 1, **other}
    images = Many(n) if images is None else images
    return Crops(images, torch.arange(n), Batching(batch_size, CPU), NORMALISE, framing, **settings)


def same(first: list[Batch], second: list[Batch]) -> bool:
    """Whether the images, labels and indices of two epochs are equal, however they are cut into batches."""
    whole = [[torch.cat(part) for part in zip(*batches, strict=True)] for batches in (first, second)]
    return all(a.equal(b) for a, b in zip(*whole, strict=True))


def by_index(batches: list[Batch]) -> dict[int, Tensor]:
    return {int(i): x for images, _, index in batches for x, i in zip(images, index, strict=True)}


def test_epoch_has_every_image_once() -> None:
    batches = list(crops().epoch(1))
    assert [len(y) for _, y, _ in batches] == [4, 4, 4, 4, 4, 3]
    assert sorted(int(i) for _, _, index in batches for i in index) == list(range(23))
    assert all(y.equal(index) for _, y, index in batches)
    assert len(crops()) == 6
    assert all(x.shape[1:] == (3, 32, 32) and x.dtype == torch.float32 for x, _, _ in batches)


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_views_are_the_same_whatever_the_number_of_workers(workers: int) -> None:
    assert same(list(crops().epoch(2)), list(crops(workers=workers).epoch(2)))


def test_views_are_the_same_whatever_the_batch() -> None:
    assert same(list(crops().epoch(2)), list(crops(batch_size=9, workers=2).epoch(2)))


def test_views_are_the_same_after_other_epochs() -> None:
    used = crops()
    list(used.epoch(1))
    assert same(list(used.epoch(2)), list(crops().epoch(2)))


@pytest.mark.parametrize(("seed", "epoch"), [(6, 1), (5, 2)])
def test_views_differ_by_seed_and_epoch(seed: int, epoch: int) -> None:
    first, second = by_index(list(crops().epoch(1))), by_index(list(crops(seed=seed).epoch(epoch)))
    assert sum(first[i].equal(second[i]) for i in first) == 0


def test_view_of_an_image_is_the_same_among_fewer() -> None:
    """`train_size` takes the first so many: those are seen as among all."""
    few, all_ = by_index(list(crops(7).epoch(3))), by_index(list(crops(23).epoch(3)))
    assert all(few[i].equal(all_[i]) for i in few)


def test_boxes_lie_within_their_images() -> None:
    sizes = np.array([(40, 60), (300, 20), (20, 300), (1, 1), (256, 341)] * 200, np.int32)
    boxes = draw_boxes(0, 1, sizes, flip=True)
    assert (boxes.top >= 0).all()
    assert (boxes.left >= 0).all()
    assert (boxes.top + boxes.height <= sizes[:, 0]).all()
    assert (boxes.left + boxes.width <= sizes[:, 1]).all()
    assert (boxes.height > 0).all()
    assert (boxes.width > 0).all()


def test_box_of_an_image_too_long_is_the_largest_at_its_centre() -> None:
    boxes = draw_boxes(0, 1, np.array([(8, 8000), (8000, 8)], np.int32), flip=False)
    assert boxes.height.tolist() == [8, 11]
    assert boxes.width.tolist() == [11, 8]
    assert (boxes.left[0], boxes.top[1]) == ((8000 - 11) // 2, (8000 - 11) // 2)


@pytest.mark.parametrize("size", [(256, 341), (400, 256), (256, 256)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    from torchvision.transforms import v2

    n = 1500
    ours = draw_boxes(1, 1, np.tile(np.array(size, np.int32), (n, 1)), flip=False)
    torch.manual_seed(0)
    theirs_ = v2.RandomResizedCrop(224)
    theirs = [theirs_.make_params([torch.empty(3, *size)]) for _ in range(n)]
    for part in ("top", "left", "height", "width"):
        assert scipy.stats.ks_2samp(getattr(ours, part), [each[part] for each in theirs]).pvalue > 0.01


def test_half_of_the_views_are_flipped() -> None:
    sizes = np.full((4000, 2), 40, np.int32)
    assert abs(draw_boxes(0, 1, sizes, flip=True).flip.mean() - 0.5) < 0.03
    assert not draw_boxes(0, 1, sizes, flip=False).flip.any()


def test_crop_is_torchvisions_on_pil() -> None:
    from torchvision.transforms import v2

    images, boxes = Many(6), draw_boxes(0, 1, Many(6).sizes, flip=True)
    for index in range(6):
        pil = Image.fromarray(images[index].permute(1, 2, 0).numpy())
        at = [int(part[index]) for part in (boxes.top, boxes.left, boxes.height, boxes.width)]
        theirs = v2.functional.resized_crop(pil, *at, size=[32, 32])
        theirs = v2.functional.horizontal_flip(theirs) if boxes.flip[index] else theirs
        ours = crop(images[index], boxes, index, 32).permute(1, 2, 0).numpy().astype(int)
        assert np.abs(ours - np.asarray(theirs)).max() <= 1


@pytest.mark.parametrize(("size", "resize"), [(32, 36), (32, 40), (32, 32), (64, 80)])
def test_centre_is_torchvisions_on_pil(size: int, resize: int) -> None:
    from torchvision.transforms import v2

    reference = v2.Compose([v2.Resize(resize), v2.CenterCrop(size)])
    for image in (Many(3)[index] for index in range(3)):
        theirs = np.asarray(reference(Image.fromarray(image.permute(1, 2, 0).numpy())))
        ours = centre(image, Framing(size=size, resize=resize)).permute(1, 2, 0).numpy().astype(int)
        assert ours.shape == (size, size, 3)
        assert np.abs(ours - theirs).max() <= 1


def test_centre_batches_are_in_order_and_normalised() -> None:
    images, framing = Many(5), Framing(size=32, resize=36)
    x, y, index = next(centre_batches(images, torch.arange(5), Batching(5, CPU), NORMALISE, framing))
    views = torch.stack([centre(images[i], framing) for i in range(5)])
    assert x.equal(NORMALISE(views))
    assert (y.tolist(), index.tolist()) == (list(range(5)), list(range(5)))


def test_batches_for_a_device_never_wait_for_it() -> None:
    """The device that has no numbers stands in for a GPU: what is copied to it or read from it is counted."""
    there = torch.device("meta")
    of: tuple[Any, ...] = (Many(5), torch.arange(5), Batching(4, there), Normalise(MEAN, STD, there), FRAMING)
    views, tested = Crops(*of, seed=5), centre_batches(*of)
    with Operators() as counted:
        batches = [*views.epoch(1), *tested]
    assert [(len(y), x.device.type, y.device.type) for x, y, _ in batches] == [
        (size, "meta", "meta") for size in (4, 1, 4, 1)
    ]
    assert not counted.synchronising


def test_without_resized_crop_views_are_centres_some_of_them_flipped() -> None:
    framing = Framing(size=32, resize=36, flip=True)
    images = Many(23)
    flipped = 0
    for i, view in by_index(list(crops(framing=framing).epoch(1))).items():
        plain = NORMALISE(centre(images[i], framing)[None])[0]
        assert view.equal(plain) or view.equal(plain.flip(-1))
        flipped += not view.equal(plain)
    assert 3 < flipped < 20


def test_images_of_one_size_are_taken_too() -> None:
    images = torch.randint(256, (23, 3, 40, 40), dtype=torch.uint8)
    batches = list(crops(images=images).epoch(1))
    assert sum(len(y) for _, y, _ in batches) == 23


class Broken(Many):
    """One image cannot be read."""

    def __getitem__(self, index: int) -> Tensor:
        if index == 7:
            raise OSError("a bad disk")
        return super().__getitem__(index)


def test_image_that_cannot_be_read_is_the_epochs_error() -> None:
    with pytest.raises(OSError, match="a bad disk"):
        list(crops(images=Broken(23), workers=2).epoch(1))


def test_epoch_that_is_left_early_leaves_no_threads() -> None:
    before = threading.active_count()
    epoch = crops(workers=3).epoch(1)
    next(epoch)
    epoch.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
