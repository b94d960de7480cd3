"""A(x): the classes that are near an image's own, for the anisotropic losses. Data, each with its digest.

On CIFAR-100 they are the other classes of the same superclass, as the official coarse labels have it
(tests/test_neighbours.py holds the table against the labels of all 60,000 images).
"""

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from kdbench import catalog
from kdbench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

CIFAR100 = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
"""The superclasses in the order of the coarse labels, each with its classes. Fine labels are alphabetical."""
Groups = list[list[str]]
"""Classes by name, those near each other together."""


def cifar100() -> Groups:
    """CIFAR-100's fine classes: 20 groups of 5."""
    return [classes.split() for classes in CIFAR100.values()]


def neighbours(dataset: str) -> "Tensor":
    """A(x) of a data set of the catalog, held against the catalog's digest.

    Returns:
        uint8 (K, K): row y has a 1 at each class that is near class y, itself not among them.

    Raises:
        UserError: the data set has none, or they are not those of the digest.
    """
    near = matrix(groups(dataset))
    if digest(near) != (known := _entry(dataset).neighbours_digest):
        raise UserError(
            f"{dataset}: the neighbours A(x) have the digest {digest(near)}, the catalog says {known}; "
            "the code or the catalog was changed: install kdbench again"
        )
    return near


def groups(dataset: str) -> Groups:
    """The groups of a data set of the catalog.

    Raises:
        UserError: it has none.
    """
    entry = _entry(dataset)
    if not entry.neighbours:
        raise UserError(f"{dataset} has no neighbours A(x); these have: {', '.join(_having())}")
    return catalog.load(entry.neighbours)()  # type: ignore[no-any-return]


def named(dataset: str) -> dict[str, list[str]]:
    """Each class of a data set, in the order of the labels, with the names of its neighbours.

    Raises:
        UserError: the data set has none.
    """
    found = {name: [other for other in group if other != name] for group in groups(dataset) for name in group}
    return dict(sorted(found.items()))


def described(dataset: str) -> dict[str, Any]:
    """What `kdbench data neighbours` tells: `sha256` of the matrix, `neighbours` by name.

    Raises:
        UserError: the data set has none.
    """
    return {"sha256": digest(neighbours(dataset)), "neighbours": named(dataset)}


def matrix(of: Groups) -> "Tensor":
    """uint8 (K, K): a 1 where two different classes share a group; classes are numbered alphabetically."""
    import torch

    names = sorted(name for group in of for name in group)
    group = {name: number for number, members in enumerate(of) for name in members}
    label = torch.tensor([group[name] for name in names])
    return (label[:, None] == label).to(torch.uint8).fill_diagonal_(0)


def digest(near: "Tensor") -> str:
    """The sha256 of the matrix, row by row, a byte each."""
    return sha256(near.contiguous().numpy().tobytes()).hexdigest()


def _entry(dataset: str) -> catalog.DatasetEntry:
    try:
        return catalog.find("datasets", dataset)  # type: ignore[no-any-return]
    except LookupError as error:
        raise UserError(str(error.args[0])) from error


def _having() -> list[str]:
    return [name for name in catalog.names("datasets") if _entry(name).neighbours]
