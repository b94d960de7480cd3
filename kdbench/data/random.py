"""One counter-based random stream: a value is a pure function of (seed, stream, epoch, index).

Nothing is drawn "next": the value of an index depends neither on how many are asked for nor on what was
asked before, so a view is the same alone or in company, resumed or not, on the CPU or on a GPU.

The numbers are those of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014; Vigna's public-domain C is the reference), started at a key of its own for each stream.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def bits(seed: int, stream: str, epoch: int, n: int) -> NDArray[np.uint64]:
    """The 64 random bits of each index below n, shape (n,)."""
    return splitmix64(_key(seed, stream, epoch), n)


def uniform(seed: int, stream: str, epoch: int, n: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), 53 bits each, shape (n,)."""
    return (bits(seed, stream, epoch, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(seed: int, stream: str, epoch: int, n: int, *, high: int) -> NDArray[np.int64]:
    """Integers in [0, high), shape (n,); their probabilities differ by less than 2**-32.

    Raises:
        ValueError: high is not within 1 .. 2**32.
    """
    if not 1 <= high <= 2**32:
        raise ValueError(f"high must lie within 1 .. 2**32; it is {high}")
    upper = bits(seed, stream, epoch, n) >> np.uint64(32)
    return ((upper * np.uint64(high)) >> np.uint64(32)).astype(np.int64)


def permutation(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order of n samples in an epoch: their indices sorted by random key, ties by index; shape (n,)."""
    order: NDArray[np.int64] = permutations(seed, range(epoch, epoch + 1), n)[0]
    return order


def permutations(seed: int, epochs: range, n: int) -> NDArray[np.int64]:
    """The orders of several epochs, shape (epochs, n): for few samples sooner than one by one."""
    # sorting by random keys is a permutation that needs no drawing "next"; two equal keys of 64 bits are in
    # the order of their indices, so that every machine has the same order
    keys = np.array([_key(seed, "order", epoch) for epoch in epochs], np.uint64)
    return np.argsort(splitmix64(keys[:, None], n), kind="stable").astype(np.int64, copy=False)


def torch_seed(seed: int, what: str, epoch: int = 0) -> int:
    """A seed of 63 bits for torch's own generator, which draws initial weights and dropout masks."""
    return _key(seed, what, epoch) >> 1


def splitmix64(state: int | NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """The first n outputs of SplitMix64 from a state, shape (n,); of states (k, 1): shape (k, n)."""
    z = np.uint64(state) + _GAMMA * np.arange(1, n + 1, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


def _key(seed: int, stream: str, epoch: int) -> int:
    name = f"kdbench/{seed}/{stream}/{epoch}"
    return int.from_bytes(sha256(name.encode()).digest()[:8], "little")
