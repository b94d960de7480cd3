"""What a process keeps from one run to the next, since the next one often needs the same.

No number depends on it: whatever is not here is made again.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from kdbench.data.opened import make_room
from kdbench.data.views import PaddedImages

if TYPE_CHECKING:
    from kdbench.training.memory import Need

EVALUATED = 2
"""Sets of images that stay for the next evaluation: test images, and held-out ones."""
Key = tuple[object, ...]
"""All that something depends on."""


class EvaluationSet(NamedTuple):
    """The images that networks are evaluated on, in the order of the data set."""

    images: Any
    """A tensor (N, C, H, W) where the networks are; or, read from the disk as needed, of many sizes."""
    labels: Tensor
    """Int64 (N,), where the images are."""
    classes: Tensor
    """The same on the CPU."""


class Kept:
    """What is kept of the runs before."""

    def __init__(self) -> None:
        self.padded_images: dict[Key, PaddedImages] = {}
        """The padded images of the last run."""
        self.evaluated: dict[Key, EvaluationSet] = {}
        """Images of the last evaluations."""
        self.needs: dict[Key, Need] = {}
        """What networks were found to need of the memory, by student, data set, classes and size."""
        self.last_cohort: list[Key] = []
        """What the memory of the last cohort depended on, run by run."""

    @property
    def padded_bytes(self) -> int:
        """What the padded images take of the memory."""
        return sum(each.pixels.nbytes for each in self.padded_images.values())

    def padded(self, key: Key, make: Callable[[], PaddedImages]) -> PaddedImages:
        """Padded images by what they depend on: those of the run before, or made anew in their place."""
        if key not in self.padded_images:
            self.padded_images.clear()  # first, since there may be room for one only
            self.padded_images[key] = make()
        return self.padded_images[key]

    def evaluation_set(self, key: Key, make: Callable[[], EvaluationSet]) -> EvaluationSet:
        """What is evaluated, by what it depends on: as of an evaluation before, or made."""
        if key not in self.evaluated:
            make_room(self.evaluated, EVALUATED)
            self.evaluated[key] = make()
        return self.evaluated[key]
