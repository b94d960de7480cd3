"""The counter-based random stream: uniform, independent, pinned."""

import numpy as np
import pytest
import scipy

from kdbench.data import random

N = 200_000


def correlation(a: np.ndarray[tuple[int], np.dtype[np.float64]], b: object) -> float:
    return abs(float(np.corrcoef(a, np.asarray(b))[0, 1]))


def test_splitmix64_gives_the_published_sequence() -> None:
    # The reference output of Vigna's C code for the state 1234567.
    known = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert random.splitmix64(1234567, 5).tolist() == known


def test_bits_are_pinned() -> None:
    # Changing any of these changes every stored result: raise spec.PROTOCOL with it.
    assert random.bits(0, "order", 1, 2).tolist() == [13937798036369464346, 11075136021855858049]
    assert random.bits(7, "angle", 200, 1).tolist() == [6641761449502520132]


def test_derived_values_are_pinned() -> None:
    assert random.permutation(3, 1, 8).tolist() == [2, 1, 6, 0, 5, 7, 3, 4]
    assert random.integers(3, "top", 1, 8, high=9).tolist() == [8, 8, 2, 3, 3, 8, 5, 5]
    assert random.uniform(3, "angle", 1, 1).tolist() == [0.06064183258371836]
    assert random.torch_seed(3, "weights") == 5919296961230791514


@pytest.mark.parametrize("stream", ["order", "flip", "top", "left", "angle"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_uniform_fills_its_bins_evenly(stream: str, epoch: int) -> None:
    counts, _ = np.histogram(random.uniform(0, stream, epoch, N), bins=1000, range=(0, 1))
    statistic = float(((counts - N / 1000) ** 2 / (N / 1000)).sum())
    assert scipy.stats.chi2.ppf(0.0005, 999) < statistic < scipy.stats.chi2.ppf(0.9995, 999)


def test_every_bit_is_set_half_of_the_time() -> None:
    values = random.bits(0, "flip", 1, N)
    share = [float(((values >> np.uint64(b)) & np.uint64(1)).mean()) for b in range(64)]
    assert max(abs(s - 0.5) for s in share) < 4.5 * 0.5 / N**0.5


def test_integers_cover_their_range_evenly() -> None:
    counts = np.bincount(random.integers(0, "top", 1, 90_000, high=9))
    assert len(counts) == 9
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < scipy.stats.chi2.ppf(0.999, 8)


def test_integers_without_a_value_are_refused() -> None:
    with pytest.raises(ValueError, match=r"within 1 \.\. 2\*\*32; it is 0"):
        random.integers(0, "top", 1, 3, high=0)


@pytest.mark.parametrize(
    "other", [(1, "top", 1), (0, "left", 1), (0, "top", 2)], ids=["seed", "stream", "epoch"]
)
def test_streams_that_differ_are_uncorrelated(other: tuple[int, str, int]) -> None:
    a, b = random.uniform(0, "top", 1, N), random.uniform(*other, N)
    assert max(correlation(a, b), correlation(a[1:], b[:-1])) < 4.5 / N**0.5


def test_neighbouring_indices_are_uncorrelated() -> None:
    a = random.uniform(0, "angle", 1, N)
    assert max(correlation(a[lag:], a[:-lag]) for lag in (1, 2, 3, 128)) < 4.5 / N**0.5


def test_a_value_does_not_depend_on_how_many_are_drawn() -> None:
    assert np.array_equal(random.bits(0, "top", 1, 10), random.bits(0, "top", 1, 1000)[:10])


def test_permutation_holds_every_index_once() -> None:
    assert sorted(random.permutation(0, 1, 1000).tolist()) == list(range(1000))


def test_permutation_differs_between_epochs() -> None:
    same = (random.permutation(0, 1, 1000) == random.permutation(0, 2, 1000)).sum()
    assert same < 10


def test_torch_seed_fits_torch_and_differs_by_purpose() -> None:
    seeds = {
        random.torch_seed(seed, what, epoch)
        for seed in range(20)
        for what in ("weights", "dropout")
        for epoch in (0, 1)
    }
    assert len(seeds) == 80
    assert 0 <= min(seeds) <= max(seeds) < 2**63


def test_orders_of_several_epochs_are_those_of_each() -> None:
    together = random.permutations(5, range(3, 7), 50)
    assert together.tolist() == [random.permutation(5, epoch, 50).tolist() for epoch in range(3, 7)]
