"""The synthetic experiments of Lopez-Paz et al. (ICLR 2016, section 5): generated, a function of the seed.

Of each experiment there are two data sets with the same points and the same classes: what a student sees
(`synthetic1`: x, 50 values) and what its teacher sees (`synthetic1_privileged`: x*). The papers' 200 training
and 10,000 test points; the released code (code/synthetic.py at cdc4cae) tests on 1,000.

    1  x* = <α, x>                                  y = [x* + ε > 0]
    2  x* = x without noise, x = x* + ε             y = [<α, x*> > 0]
    3  x* = the first 3 values of x                 y = [<α_123, x*> > 0]
    4  x* = 3 values of x, others for each point    y = [<α_J, x*> > 0], J: which 3

The code draws one J for all points of a set, takes α_123 for α_J and the median for 0: `synthetic4_released`.
A line that it has commented out takes the three largest values of x: `synthetic4_largest`.

All values are standardised by the mean and the std of the training points, as the code does.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdbench.data import random
from kdbench.data.disk import Arrays

VERSION = "1"
"""Raised whenever the generated points change: part of every run's identity."""
D = 50
"""Values of a point."""
TRAIN, TEST = 200, 10_000
PRIVILEGED = "_privileged"
Values = NDArray[np.float64]


class Points(NamedTuple):
    """Points of an experiment."""

    privileged: Values
    """x*: (N, values)."""
    regular: Values
    """x: (N, 50)."""
    y: NDArray[np.bool_]
    """(N,)."""


def generate(name: str, seed: int) -> Arrays:
    """A data set of the catalog for a seed: float32 images (N, values, 1, 1), int64 labels (N,).

    Args:
        name: `synthetic1`, or `synthetic1_privileged` for what the teacher sees of the same points.
        seed: a run's.
    """
    experiment = name.removesuffix(PRIVILEGED)
    train, test = _splits(experiment, seed)
    if name == experiment:
        seen, tested = standardised(train.regular, test.regular)
    else:
        seen, tested = standardised(train.privileged, test.privileged)
    return {
        "train_images": seen.astype(np.float32)[:, :, None, None],
        "train_labels": train.y.astype(np.int64),
        "test_images": tested.astype(np.float32)[:, :, None, None],
        "test_labels": test.y.astype(np.int64),
    }


def standardised(train: Values, test: Values) -> tuple[Values, Values]:
    """Both less the mean of the training points, over their std."""
    mean, std = train.mean(axis=0), train.std(axis=0)
    return (train - mean) / std, (test - mean) / std


def points(experiment: str, seed: int, split: str, n: int) -> Points:
    """Points of an experiment: `train` and `test` are drawn apart, with the same α.

    The student sees D values. The teacher sees: in `synthetic1` how far the point is from the plane, of which
    the class has noise; in `synthetic2` the values without noise; in `synthetic3` the first three, which
    alone decide; in the others three that decide: drawn for each point, drawn once (as released), or the
    largest.
    """

    def draw(what: str, *shape: int) -> Values:
        return normal(seed, f"{experiment} {split} {what}", *shape)

    alpha = normal(seed, f"{experiment} alpha", D)
    x = draw("x", n, D)
    if experiment == "synthetic1":
        privileged = x @ alpha[:, None]
        return Points(privileged, x, (privileged + draw("noise", n, 1)).ravel() > 0)
    if experiment == "synthetic2":
        return Points(x, x + draw("noise", n, D), x @ alpha > 0)
    if experiment == "synthetic3":
        return Points(x[:, :3], x, x[:, :3] @ alpha[:3] > 0)
    if experiment == "synthetic4":
        chosen = np.argsort(draw("chosen", n, D), axis=1)[:, :3]
        privileged = np.take_along_axis(x, chosen, axis=1)
        return Points(privileged, x, (privileged * alpha[chosen]).sum(axis=1) > 0)
    if experiment == "synthetic4_released":
        privileged = x[:, np.argsort(draw("chosen", D))[:3]]
    else:
        privileged = np.sort(x, axis=1)[:, ::-1][:, :3]
    score = privileged @ alpha[:3]
    return Points(privileged, x, score > np.median(score))


def normal(seed: int, stream: str, *shape: int) -> Values:
    """Standard normal values by Box and Muller (1958), a function of (seed, stream, place)."""
    n = int(np.prod(shape))
    radius = np.sqrt(-2 * np.log1p(-random.uniform(seed, f"{stream} radius", 0, n)))
    angle = 2 * np.pi * random.uniform(seed, f"{stream} angle", 0, n)
    values: Values = radius * np.cos(angle)
    return values.reshape(shape)


def files(_pack: str) -> tuple[str, ...]:
    """Nothing needs to lie anywhere."""
    return ()


def sources(_pack: str) -> dict[str, str]:
    """What stands for the checksums of official files: which generator it is."""
    return {"kdbench.data.synthetic": f"version {VERSION}"}


@lru_cache(maxsize=4)
def _splits(experiment: str, seed: int) -> tuple[Points, Points]:
    """Training and test points: student and teacher ask for the same ones in turn."""
    return points(experiment, seed, "train", TRAIN), points(experiment, seed, "test", TEST)
