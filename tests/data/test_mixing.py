"""mixup and CutMix against torchvision's, and what their draws depend on."""

import numpy as np
import pytest
import scipy
import torch

from kdbench.data.mixing import Mix, Mixing, box_of, with_partner

X = torch.randn(6, 3, 8, 10, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_images_are_torchvisions(share: float) -> None:
    from torchvision.transforms import v2

    wanted = v2.MixUp(num_classes=6).transform(X, {"lam": share, "labels": Y, "batch_size": 6})
    assert Mix(share).mixed(X, X.roll(1, 0)).equal(wanted)


@pytest.mark.parametrize(
    ("share", "row", "column"), [(0.5, 0.5, 0.5), (0.1, 0.0, 0.99), (0.0, 0.5, 0.5), (0.999, 0.2, 0.2)]
)
def test_cut_images_are_torchvisions(
    share: float, row: float, column: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.transforms import v2

    transform = v2.CutMix(num_classes=6)
    monkeypatch.setattr(transform._dist, "sample", lambda _: torch.tensor(share, dtype=torch.float64))  # noqa: SLF001
    centre = iter([int(column * 10), int(row * 8)])
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([next(centre)]))
    params = transform.make_params([X])
    monkeypatch.undo()
    found = box_of(share, row, column, 8, 10)
    assert found.share == pytest.approx(params["lam_adjusted"], abs=1e-12)
    wanted = transform.transform(X, {**params, "labels": Y, "batch_size": 6})
    assert found.mixed(X, X.roll(1, 0)).equal(wanted)


def test_shares_are_drawn_from_beta() -> None:
    shares = [Mixing(0, 0.4, 0.0).of_batch(epoch, 0, 8, 8).share for epoch in range(600)]
    assert scipy.stats.kstest(shares, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_recipe_with_both_gives_a_batch_one_of_them() -> None:
    mixes = [Mixing(0, 1.0, 1.0).of_batch(1, number, 8, 8) for number in range(200)]
    assert np.mean([mix.box is None for mix in mixes]) == pytest.approx(0.5, abs=0.1)
    assert all(mix.box is not None for mix in (Mixing(0, 0.0, 1.0).of_batch(1, n, 8, 8) for n in range(9)))


def test_mix_is_a_function_of_seed_epoch_and_batch() -> None:
    one = Mixing(0, 1.0, 0.0)
    shares = {one.of_batch(epoch, number, 8, 8).share for epoch in (1, 2) for number in (0, 1)}
    assert len(shares | {Mixing(1, 1.0, 0.0).of_batch(1, 0, 8, 8).share}) == 5
    assert one.of_batch(2, 1, 8, 8) == Mixing(0, 1.0, 0.0).of_batch(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (slice(4, 8), [3, 4, 5, 6, 7]),
        (slice(0, 3), [7, 0, 1, 2]),
        (slice(5, 5), [4]),
        (slice(None), [7, *range(8)]),
    ],
)
def test_share_has_the_partner_of_its_first_image(part: slice, found: list[int]) -> None:
    here = with_partner(lambda _: part)(8)
    assert isinstance(here, torch.Tensor)
    assert here.tolist() == found
