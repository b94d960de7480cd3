"""The batched views against torchvision on PIL images, and against themselves in other company."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kdbench.data.affine import Draws, coefficients, draw
from kdbench.data.augment import Augmentation
from kdbench.data.views import Batch, Batching, Normalise, PaddedImages, Views, plain_batches
from kdbench.training.operators import Operators

MEAN, STD = (0.5070751592371323, 0.4865488733149497, 0.4409178433670343), (0.2673, 0.2564, 0.2761)
CPU, META = torch.device("cpu"), torch.device("meta")
NORMALISE = Normalise(MEAN, STD, CPU)


def noise(n: int, channels: int = 3, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


def fixed(n: int, angle: float = 0.0, *, flip: bool = False) -> Draws:
    zero = np.zeros(n, np.int64)
    return Draws(zero, zero, np.full(n, flip), np.full(n, angle))


def ours(images: Tensor, draws: Draws, crop: int) -> Tensor:
    padded = PaddedImages(images, crop, "cpu")
    corner = torch.from_numpy(padded.corner(np.arange(len(images)), draws))
    pixels = padded.gather(corner, torch.from_numpy(coefficients(draws, padded.height, padded.width)))
    return pixels[..., None].view(torch.uint8)[..., : padded.channels].permute(0, 3, 1, 2)


def theirs(images: Tensor, draws: Draws, crop: int) -> Tensor:
    return torch.stack([_one(image, draws, i, crop) for i, image in enumerate(images)])


def _one(image: Tensor, draws: Draws, i: int, crop: int) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as reference

    picture = reference.pad(reference.to_pil_image(image), [crop])
    top, left, size = int(draws.top[i]), int(draws.left[i]), image.shape[-1]
    picture = reference.crop(picture, top, left, size, size)
    if draws.flip[i]:
        picture = reference.hflip(picture)
    picture = reference.rotate(picture, float(draws.angle[i]), InterpolationMode.NEAREST, fill=0)
    return torch.from_numpy(np.array(picture)).view(size, size, -1).permute(2, 0, 1)


def different(images: Tensor, draws: Draws, crop: int) -> int:
    return int((ours(images, draws, crop) != theirs(images, draws, crop)).sum())


@pytest.mark.parametrize(
    ("crop", "flip", "rotation"),
    [(4, False, 0.0), (0, True, 0.0), (0, False, 15.0), (4, True, 15.0), (2, True, 180.0)],
    ids=["crop", "flip", "rotation", "all", "any angle"],
)
def test_views_equal_torchvision_on_pil_images(crop: int, *, flip: bool, rotation: float) -> None:
    images = noise(400)
    assert different(images, draw(0, 1, 400, crop=crop, flip=flip, rotation=rotation), crop) == 0


def test_views_equal_torchvision_on_small_grey_images() -> None:
    images = noise(400, channels=1, size=8)
    assert different(images, draw(0, 1, 400, crop=1, flip=True, rotation=15), 1) == 0


@pytest.mark.parametrize("size", [7, 31, 33])
def test_views_equal_torchvision_on_odd_sizes(size: int) -> None:
    images = noise(200, size=size)
    assert different(images, draw(0, 1, 200, crop=3, flip=True, rotation=30), 3) == 0


@pytest.mark.parametrize("angle", [0, 30, 45, 60, 90, 180, 270, 360, -45, -90, -180, 1e-17, -1e-9, 1e-4])
def test_rotation_equals_pillow_at_special_angles(angle: float) -> None:
    assert different(noise(4), fixed(4, angle), 0) == 0
    assert different(noise(4), fixed(4, angle, flip=True), 0) == 0


@pytest.mark.parametrize("channels", [2, 4])
def test_gather_keeps_every_channel(channels: int) -> None:
    images = noise(5, channels)
    assert torch.equal(ours(images, fixed(5), 0), images)


def test_coefficients_equal_pillows_for_many_angles() -> None:
    angles = draw(0, 1, 5000, crop=0, flip=False, rotation=180).angle
    draws = Draws(*(np.zeros(5000, np.int64),) * 2, np.zeros(5000, bool), angles)
    assert coefficients(draws, 32, 32).tolist() == [_pillow(a, 32) for a in angles.tolist()]


def _pillow(angle: float, size: int) -> list[int]:
    """Image.rotate and affine_fixed, one angle at a time."""
    turn, c = -math.radians(angle % 360.0), size / 2
    a, b = round(math.cos(turn), 15), round(math.sin(turn), 15)
    d, e = round(-math.sin(turn), 15), round(math.cos(turn), 15)
    column, row = a * -c + b * -c + 0.0 + c, d * -c + e * -c + 0.0 + c
    numbers = (a, b, column + a * 0.5 + b * 0.5, d, e, row + d * 0.5 + e * 0.5)
    return [math.floor(v * 65536 + 0.5) for v in numbers]


def test_normalise_equals_torchvision_for_every_level() -> None:
    from torchvision.transforms import functional as reference

    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    picture = Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    wanted = reference.normalize(reference.to_tensor(picture), list(MEAN), list(STD))
    assert torch.equal(NORMALISE(levels[None])[0], wanted)


def make(images: Tensor, batch_size: int = 16, seed: int = 0) -> Views:
    padded, labels = PaddedImages(images, 4, CPU), torch.arange(len(images)) % 10
    return Views(padded, labels, Batching(batch_size, CPU), NORMALISE, seed=seed, flip=True, rotation=15)


def in_order(batches: list[Batch]) -> Tensor:
    x, index = torch.cat([b[0] for b in batches]), torch.cat([b[2] for b in batches])
    return x[index.argsort()]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_of_any_number_of_channels_are_unpacked(channels: int) -> None:
    images = noise(3, channels)
    normalise = Normalise([0.1, 0.2, 0.3, 0.4][:channels], [0.5, 0.6, 0.7, 0.8][:channels], "cpu")
    padded, draws = PaddedImages(images, 0, "cpu"), fixed(3)
    pixels = padded.gather(
        torch.from_numpy(padded.corner(np.arange(3), draws)),
        torch.from_numpy(coefficients(draws, padded.height, padded.width)),
    )
    assert torch.equal(normalise.unpack(pixels), normalise(images))


def test_epoch_gives_torchvisions_batch_normalised() -> None:
    images, v = noise(50), make(noise(50))
    wanted = NORMALISE(theirs(images, v.draws(3), 4))
    assert torch.equal(in_order(list(v.epoch(3))), wanted)


def test_epoch_keeps_each_label_with_its_image() -> None:
    for _, y, index in make(noise(50)).epoch(1):
        assert torch.equal(y, index % 10)


def test_epoch_keeps_the_short_last_batch() -> None:
    v = make(noise(50))
    assert [len(y) for _, y, _ in v.epoch(1)] == [16, 16, 16, 2]
    assert len(v) == 4


def test_views_do_not_depend_on_the_batch_size() -> None:
    one, all_ = make(noise(50), batch_size=1), make(noise(50), batch_size=50)
    assert torch.equal(torch.cat([b[0] for b in one.epoch(2)]), next(all_.epoch(2))[0])


def test_views_do_not_depend_on_their_company() -> None:
    images = noise(50)
    alone, together = in_order(list(make(images[:20]).epoch(1))), in_order(list(make(images).epoch(1)))
    assert torch.equal(alone, together[:20])


def test_an_epoch_does_not_depend_on_those_before() -> None:
    used, fresh = make(noise(50)), make(noise(50))
    for epoch in (1, 2):
        list(used.epoch(epoch))
    pairs = zip(used.epoch(3), fresh.epoch(3), strict=True)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[2], b[2]) for a, b in pairs)


@pytest.mark.parametrize(("seed", "epoch"), [(1, 1), (0, 2)], ids=["seed", "epoch"])
def test_views_differ_between_seeds_and_epochs(seed: int, epoch: int) -> None:
    first, second = make(noise(50)).epoch(1), make(noise(50), seed=seed).epoch(epoch)
    assert not torch.equal(in_order(list(first)), in_order(list(second)))


def test_draws_stay_in_their_ranges() -> None:
    draws = draw(0, 1, 10_000, crop=4, flip=True, rotation=15)
    assert (set(draws.top.tolist()), set(draws.left.tolist())) == (set(range(9)), set(range(9)))
    assert -15 <= draws.angle.min() < -14.9 < 14.9 < draws.angle.max() <= 15
    assert 0.48 < draws.flip.mean() < 0.52


def test_plain_batches_give_every_image_as_it_is() -> None:
    images, labels = noise(50), torch.arange(50)
    batches = list(plain_batches(images, labels, Batching(16, CPU), NORMALISE))
    assert torch.equal(torch.cat([b[0] for b in batches]), NORMALISE(images))
    assert torch.cat([b[1] for b in batches]).tolist() == list(range(50))


def test_plain_batches_of_images_on_a_device_never_wait_for_it() -> None:
    """The device that has no numbers stands in for a GPU: what is copied to it or read from it is counted."""
    images, labels = (part.to("meta") for part in (noise(50), torch.arange(50)))
    with Operators() as counted:
        batches = list(plain_batches(images, labels, Batching(16, META), Normalise(MEAN, STD, META)))
    assert [len(y) for _, y, _ in batches] == [16, 16, 16, 2]
    assert {part.device.type for batch in batches for part in batch} == {"meta"}
    assert not counted.synchronising


@pytest.mark.parametrize("augmentation", [None, Augmentation(0, 2, 9, 0.5)], ids=["plain", "augmented"])
def test_views_on_a_device_never_wait_for_it(augmentation: Augmentation | None) -> None:
    """The two reads are of the order of the images, an array of the host that the counter does not know."""
    views = Views(
        PaddedImages(noise(20), 4, META), torch.arange(20), Batching(16, META), Normalise(MEAN, STD, META),
        seed=3, flip=True, rotation=15, augmentation=augmentation,
    )  # fmt: skip
    with Operators() as counted:
        batches = list(views.epoch(1))
    assert {part.device.type for batch in batches for part in batch} == {"meta"}
    assert len(batches) == 2
    assert counted.synchronising == ({"numpy": 2} if augmentation else {})


def test_images_of_five_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 4 channels; these have 5"):
        PaddedImages(noise(1, channels=5), 0, "cpu")


def test_images_too_many_for_the_index_are_refused() -> None:
    many = torch.zeros(1, dtype=torch.uint8).expand(2**21, 1, 32, 32)
    with pytest.raises(ValueError, match="fewer than 2\\*\\*31 pixels"):
        PaddedImages(many, 0, "cpu")
